"""Sentences on users who were forgotten."""

from collections.abc import Iterator

from l3ae_dist.cli.documents import Document
from l3ae_dist.data.dataset_summary import count_text


def forgotten_lines(result: Document) -> Iterator[str]:
    """Yield what was done about forgotten users, and what is left to do.

    Parameters
    ----------
    result
        Of a call that forgot users, with the parts ``forget`` and ``update``.
    """
    told, change = result["forget"], result["update"]
    if change["changed"]:
        yield f"The inverse is changed by {count_text(change['rank'], 'row')}, and was not solved again."
    yield state_sentence(told)
    if "bytes" in told:
        yield (
            f"Deleted {count_text(told['datasets'], 'dataset')}, {count_text(len(told['models']), 'model')} "
            f"and {told['bytes'] / 2**20:,.1f} MiB of arrays."
        )
    for one in told.get("elsewhere", ()):
        yield f"Not erased, since it lies elsewhere: {one['place']} ({one['kind']} of {one['model']})."


def state_sentence(told: Document) -> str:
    """Say whether users who were forgotten are erased from a workspace.

    >>> state_sentence({"state": "erased", "users": 2})
    'Forgotten: 2 users, erased.'
    """
    users = f"Forgotten: {count_text(told['users'], 'user')}"
    if told["state"] == "erased":
        return f"{users}, erased."
    deadline = f", due on {told['deadline']}" if told["deadline"] else ""
    overdue = ", which has come" if told["overdue"] else ""
    pending = f"pending erasure of {told['pending_users']:,}{deadline}{overdue}"
    return f"{users}, {pending} (`l3ae-dist forget --erase`)."
