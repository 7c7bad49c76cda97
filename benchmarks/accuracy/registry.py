"""Every method of the benchmark, and why one is not run."""

from importlib.util import find_spec

from accuracy.linear import Linear, linear_methods
from accuracy.methods import Method
from accuracy.neural import AlphaRec, LightGCN
from accuracy.peers import ALS, Neighbours, Popularity, Sansa
from accuracy.splits import SOURCES

# Data sets on which slow methods are measured too.
SMALL = ("industrial", "toys")
HOW_TO_INSTALL = {
    "implicit": "pip install 'l3ae-dist[peers]'",
    "sansa": "pip install sansa, after SuiteSparse (libsuitesparse-dev)",
    "sksparse": "pip install sansa, after SuiteSparse (libsuitesparse-dev)",
}


def methods() -> dict[str, Method]:
    """Return all methods by name: ours first."""
    peers: list[Method] = [
        Popularity(), ALS(), Neighbours("Cosine kNN", bm25=False), Neighbours("BM25 kNN", bm25=True), Sansa(),
        LightGCN(), AlphaRec(),
    ]  # fmt: skip
    return {one.name: one for one in [*linear_methods(), *peers]}


def lacking(method: Method) -> str | None:
    """Tell which package a method lacks, None where it can run."""
    absent = [name for name in method.needs if find_spec(name) is None]
    if not absent:
        return None
    how = HOW_TO_INSTALL.get(absent[0], f"pip install {absent[0]}")
    return f"{absent[0]} is not installed ({how})"


def uses_embeddings(method: Method) -> bool:
    """Tell whether a method reads text embeddings."""
    return method.name == "AlphaRec" or (
        isinstance(method, Linear) and method.member.features == "embeddings"
    )


def chosen(only: str | None, *, slow: bool) -> dict[str, list[Method]]:
    """Return the methods to measure by data set.

    Parameters
    ----------
    only
        ``toys``, ``toys/ALS`` or ``ALS``, several separated by commas; None for all.
    slow
        Whether slow methods are measured on every data set; they are where they are named.

    Raises
    ------
    SystemExit
        For a name that is neither.
    """
    known = methods()
    asked = [_wanted(word.strip(), known) for word in only.split(",")] if only else [(None, None)]
    found: dict[str, list[Method]] = {}
    for data in SOURCES:
        for name, method in known.items():
            wanted = [one for one in asked if one[0] in (None, data) and one[1] in (None, name)]
            by_name = any(one == (data, name) for one in wanted)
            if wanted and (not method.slow or slow or by_name or data in SMALL):
                found.setdefault(data, []).append(method)
    return found


def _wanted(word: str, known: dict[str, Method]) -> tuple[str | None, str | None]:
    data, _, name = word.partition("/")
    by_slug = {slug(one): one for one in known}
    if data not in SOURCES and slug(word) in by_slug:
        return None, by_slug[slug(word)]
    if data not in SOURCES or (name and slug(name) not in by_slug):
        raise SystemExit(
            f"--only names {word!r}, which is no data set ({', '.join(SOURCES)}), no method "
            f"({', '.join(by_slug)}) and no DATA/METHOD of these."
        )
    return data, by_slug[slug(name)] if name else None


def slug(name: str) -> str:
    """Return a name as a folder and as --only have it.

    >>> slug("BM25 kNN")
    'bm25-knn'
    """
    return name.lower().replace(" ", "-")
