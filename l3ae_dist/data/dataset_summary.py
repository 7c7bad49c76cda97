"""Sentences on the data of a run: what was read, what became of it, and what was left out."""

from collections.abc import Iterator, Mapping

from l3ae_dist.data.dataset_stats import Core, DatasetStats
from l3ae_dist.messages import visible

_DROPPED = {
    "missing_ratings": ("row without a rating", "rows without a rating"),
    "low_ratings": ("row with a rating below the threshold", "rows with a rating below the threshold"),
    "zero_weights": ("row of weight 0", "rows of weight 0"),
    "forgotten": ("row of a forgotten user", "rows of forgotten users"),
    "split_conflicts": (
        "row of a user and an item that an earlier split has",
        "rows of a user and an item that an earlier split has",
    ),
    "k_core": ("interaction by the k-core filter", "interactions by the k-core filter"),
    "users": ("user of whom no interaction was left", "users of whom no interaction was left"),
}


def data_lines(stats: DatasetStats) -> list[str]:
    """Return the sentences on a dataset: read, kept, dropped, its core, and the notes on its files."""
    told = [read_sentence(stats), kept_sentence(stats), dropped_sentence(stats)]
    return [*told, *([core_sentence(stats)] if stats.core else []), *note_lines(stats)]


def core_sentence(stats: DatasetStats) -> str:
    """Tell how many items are solved exactly, and how many get the column of their text.

    >>> core_sentence(DatasetStats(n_users=9, n_items=5, core=Core(of="d", min_interactions=3, items=4)))
    'Solved exactly: 4 items, with at least 3 training interactions; 1 item gets the column of its text.'
    """
    core = stats.core or Core(of="", min_interactions=0, items=stats.n_items)
    tail = stats.n_items - core.items
    rest = "1 item gets the column of its" if tail == 1 else f"{tail:,} items get the column of their"
    fewest = count_text(core.min_interactions, "training interaction")
    return f"Solved exactly: {count_text(core.items, 'item')}, with at least {fewest}; {rest} text."


def read_sentence(stats: DatasetStats) -> str:
    """Tell how many files and rows were read.

    >>> read = {"interactions": {"files": 2, "rows": 5000}, "items": {"files": 0, "rows": 1}}
    >>> read_sentence(DatasetStats(n_users=1, n_items=1, read=read))
    'Read 5,000 rows of interactions in 2 files and 1 row of items.'
    """
    parts = [_source(what, counts) for what, counts in stats.read.items()]
    return f"Read {' and '.join(parts)}." if parts else "How many rows were read was not noted."


def kept_sentence(stats: DatasetStats) -> str:
    """Tell the sizes of a dataset, and how its interactions are split.

    >>> kept_sentence(DatasetStats(n_users=2, n_items=3, nnz={"train": 4, "valid": 1, "test": 0}))
    'Kept 5 interactions of 2 users and 3 items: 4 train, 1 valid.'
    """
    counts = dict(stats.nnz)
    if "input" in counts:  # of a strong split: the training interactions and the fold-in ones
        counts["fold-in"] = counts.pop("input") - counts.get("train", 0)
    splits = {name: count for name, count in counts.items() if count}
    total = count_text(sum(splits.values()), "interaction")
    kept = f"Kept {total} of {count_text(stats.n_users, 'user')} and {count_text(stats.n_items, 'item')}"
    shares = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    return f"{kept}: {shares}." if len(splits) > 1 else f"{kept}."


def dropped_sentence(stats: DatasetStats) -> str:
    """Tell which rows were left out or merged, and why.

    >>> dropped = {"zero_weights": 2, "unknown_items": 1, "unknown_item_interactions": 3, "duplicates": 1}
    >>> dropped_sentence(DatasetStats(n_users=1, n_items=1, dropped=dropped))
    'Dropped 2 rows of weight 0 and 3 rows of 1 item that is not in the catalog; merged 1 duplicate.'
    """
    parts = list(_dropped_parts(stats.dropped))
    merged = stats.dropped.get("duplicates", 0)
    sentences = [f"dropped {_joined(parts)}"] if parts else []
    sentences += [f"merged {count_text(merged, 'duplicate')}"] if merged else []
    told = "; ".join(sentences) or "nothing was dropped"
    return f"{told[0].upper()}{told[1:]}."


def _dropped_parts(dropped: Mapping[str, int]) -> Iterator[str]:
    for key, (one, many) in _DROPPED.items():
        count = dropped.get(key, 0)
        if count:
            yield f"{count:,} {one if count == 1 else many}"
        if key == "zero_weights" and dropped.get("unknown_items"):
            items = dropped["unknown_items"]
            rows = count_text(dropped.get("unknown_item_interactions", 0), "row")
            verb = "is" if items == 1 else "are"
            yield f"{rows} of {count_text(items, 'item')} that {verb} not in the catalog"


def note_lines(stats: DatasetStats) -> list[str]:
    """Return the notes on how files were read, without characters that a terminal obeys."""
    return [f"Note: {visible(note)}" for note in stats.notes]


def count_text(count: int, noun: str) -> str:
    """Write a number of things.

    >>> count_text(1, "row"), count_text(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _source(what: str, counts: Mapping[str, int]) -> str:
    files = counts.get("files", 0)
    where = f" in {count_text(files, 'file')}" if files else ""
    return f"{count_text(counts.get('rows', 0), 'row')} of {what}{where}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
