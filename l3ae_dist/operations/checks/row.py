"""One row of the doctor's table."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from l3ae_dist.errors import ClusterError, L3AEError, WorkspaceError
from l3ae_dist.storage.records import JsonObject

Facts: TypeAlias = Mapping[str, Any]
"""Facts of a machine or a store, by name; :mod:`l3ae_dist.operations.checks.judge` makes rows of them."""
Status = Literal["ok", "warning", "problem"]
# Where all problems are of one kind, the exit code says which.
_CODES = {"store": WorkspaceError.exit_code, "cluster": ClusterError.exit_code}

# Errors of other packages may be pages long.
_LONGEST = 400


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """Subject of the check, in a word or two."""
    status: Status
    """``problem``: a run fails or gives wrong results; ``warning``: it is slow or may fail."""
    found: str
    """Finding, with its numbers."""
    advice: str = ""
    """Advice; empty where there is nothing to do."""
    node: str = "this machine"
    """Machine or place that was checked."""
    kind: Literal["machine", "store", "cluster"] = "machine"
    """Cause to name when the row is a problem."""

    def document(self) -> JsonObject:
        """Return the row as JSON-like values."""
        return asdict(self)


def exit_code(checks: Iterable[Check]) -> int:
    """Return 0 without problems, the code of the store or cluster where only they have problems, else 1.

    >>> exit_code([Check("clock", "warning", "2 s ahead")])
    0
    >>> exit_code([Check("store", "problem", "no answer", kind="store")])
    4
    """
    kinds = {check.kind for check in checks if check.status == "problem"}
    if not kinds:
        return 0
    return _CODES.get(kinds.pop(), 1) if len(kinds) == 1 else 1


def of_error(name: str, error: BaseException, *, node: str, kind: Literal["store", "cluster"]) -> Check:
    """Make a row of an error; this package's sentences end with the next step after a semicolon.

    Parameters
    ----------
    name
        Of the row.
    error
        What was raised.
    node
        Name of the machine in the table.
    kind
        What is at fault.
    """
    text = str(error) if isinstance(error, (L3AEError, TimeoutError)) else f"{type(error).__name__}: {error}"
    found, _, advice = " ".join(text.split()).rstrip(".").rpartition("; ")
    if not found:
        found, advice = advice, ""
    return Check(name, "problem", textwrap.shorten(found, _LONGEST, placeholder=" ..."), advice, node, kind)
