"""Sentences on what an appended log added."""

from l3ae_dist.cli.documents import Document


def append_sentence(report: Document) -> str:
    """Say in words what an appended log added."""
    if report["already"]:
        return _ALREADY
    tiles = f"{report['gram_tiles_computed']:,} of {report['gram_tiles']:,} Gram tiles were computed"
    return f"{_added(report)}; {tiles}."


def update_sentence(report: Document, change: Document) -> str:
    """Say in words what a log added, and by what the inverse was changed.

    Parameters
    ----------
    report, change
        The parts ``append`` and ``update`` of the result.
    """
    if report["already"]:
        return _ALREADY
    if not change["changed"]:
        return f"{_added(report)}; the inverse has tiles of its own."
    rows, users = f"{change['rank']:,} rows", f"{change['users']:,} users"
    return f"{_added(report)}; the inverse is changed by {rows} of {users}, and was not solved again."


def foreseen_sentence(told: Document) -> str:
    """Say in words what an update would do.

    >>> foreseen_sentence({"changes": False, "reason": "the catalog has new items", "solve_flops": 2e12})
    'The system would be solved (2.0e+12 flops): the catalog has new items.'
    """
    if told.get("already"):
        return _ALREADY.replace("was done", "would be done")
    if not told["changes"]:
        return f"The system would be solved ({told['solve_flops']:.1e} flops): {told['reason']}."
    rows = f"{told['rank']:,} rows of {told['users']:,} users (at most {told['most_rows']:,})"
    cost = f"{told['bytes'] / 1e9:,.2f} GB to read and {told['flops']:.1e} flops"
    return f"The inverse would be changed by {rows}: {cost}, where a solve takes {told['solve_flops']:.1e}."


_ALREADY = "This log was appended before; nothing was done."


def _added(report: Document) -> str:
    return (
        f"Appended {report['interactions']:,} new interactions ({report['known']:,} were known, "
        f"{report['held_out']:,} are held out and stay so), {report['users']:,} new users and "
        f"{report['items']:,} new items"
    )
