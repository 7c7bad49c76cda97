"""Tables of the page on accuracy, made of its result."""

from collections.abc import Callable, Sequence

Document = dict
SETS = ("industrial", "toys", "games", "books", "games-time", "movielens")
_MIB = 2**20


def splits_table(document: Document) -> str:
    """Format the data sets: sizes, dates and fingerprints."""
    lines = ["| data set | users | items | train | validation | test | dates | fingerprint |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, found in document["data"].items():
        split = found["split"]
        counts = [f"{split[key]:,}" for key in ("users", "items", "train", "valid", "test")]
        dates = (
            ""
            if split["dates"] is None
            else f"validation from {split['dates'][0]}, test from {split['dates'][1]}"
        )
        lines.append(_line([name, *counts, dates, f"`{split['fingerprint']}`"]))
    return "\n".join(lines)


def set_table(document: Document, name: str) -> str:
    """Format one data set: its methods by test NDCG@20, those that were not run, and what was compared."""
    found = document["data"][name]
    methods = sorted(found["methods"].items(), key=lambda one: -one[1]["test"]["ndcg@20"])
    titles = ("method", "NDCG@20", "Recall@20", "tail Recall@20", "coverage", "validation NDCG@20", "trials",
              "tuned, min", "fit, s", "lists, s", "peak, MiB", "beside the best peer")  # fmt: skip
    lines = [_line(titles), "|" + "---|" * len(titles)]
    for method, one in methods:
        test = [f"{one['test'][key]:.4f}" for key in ("ndcg@20", "recall@20", "tail recall@20")]
        notes = [f"{one['refused']} refused"] if one["refused"] else []
        notes += ["ended before its time"] if one.get("cut") else []
        trials = ", ".join([str(one["tried"]), *notes])
        lines.append(_line([
            _title(method, one, found), *test, f"{one['test']['coverage@20']:.2f}", f"{one['valid']:.4f}",
            trials, f"{one['search_seconds'] / 60:.1f}", f"{one['fit_seconds']:.1f}",
            f"{one['list_seconds']:.1f}", f"{one['peak_bytes'] / _MIB:,.0f}", _beside(method, found),
        ]))  # fmt: skip
    minutes = sorted({one["minutes"] for one in found["methods"].values()})
    time = " and ".join(f"{value:g}" for value in minutes)
    unit = "minute" if time == "1" else "minutes"
    lines += ["", f"{time} {unit} of tuning for each. Picks: {_picks(methods)}."]
    if found["not_run"]:
        lines += ["", f"Not run: {'; '.join(f'{key} ({why})' for key, why in found['not_run'].items())}."]
    return "\n".join(lines)


def _title(name: str, one: Document, found: Document) -> str:
    marks = {found["best_of_ours"]: "our pick", found["best_peer"]: "best peer"}
    mark = f" ({marks[name]})" if name in marks else ""
    return f"**{name}**{mark}" if one["ours"] else f"{name}{mark}"


def _beside(name: str, found: Document) -> str:
    """Write a method's difference from the best peer, or the peer's from our pick."""
    for one in found["comparisons"]:
        if (one["ours"], one["peer"], one["metric"]) == (name, found["best_peer"], "ndcg@20"):
            bounds = f"{100 * one['lift_low']:+.1f} to {100 * one['lift_high']:+.1f}"
            return f"{100 * one['lift']:+.1f} % ({bounds}), p {one['p_value']:.2g}"
    return ""


def _picks(methods: Sequence[tuple[str, Document]]) -> str:
    return "; ".join(f"{name} {_setting(one['setting'])}" for name, one in methods if one["setting"])


def _setting(setting: Document) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in setting.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tables(read: Callable[[str], Document]) -> dict[str, Callable[[], str]]:
    """Return the tables by the names of their marks.

    Parameters
    ----------
    read
        Reads the result of a name; a data set that it lacks is as a result that is not there.
    """

    def of_set(name: str) -> Callable[[], str]:
        def made() -> str:
            document = read("accuracy")
            if name not in document["data"]:
                raise FileNotFoundError(name)
            return set_table(document, name)

        return made

    found: dict[str, Callable[[], str]] = {f"accuracy-{name}": of_set(name) for name in SETS}
    return {"accuracy-splits": lambda: splits_table(read("accuracy")), **found}
