"""Users who are kept out of the data of a workspace, known by keyed digests of their ids alone.

The digests say whether an id that is read again is one of them. With the key, which lies beside them, an id
that is guessed can be tried; without an id they name nobody.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from l3ae_dist.data.dataset import Dataset, id_text
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

# Bytes of the key and of a digest.
_KEY, _DIGEST = 32, 16
# User ids that are read at once.
_IDS = 1 << 18


@dataclass(frozen=True, slots=True)
class Request:
    """One request to forget users.

    Parameters
    ----------
    users
        How many.
    made
        When, ISO 8601 in UTC.
    deadline
        Day by which they are to be erased, such as ``2026-12-31``; None for none.
    erased
        When they were; None while something of the workspace may still hold them.
    """

    users: int
    made: str
    deadline: str | None = None
    erased: str | None = None

    def due(self, today: date) -> bool:
        """Tell whether the deadline has come."""
        return self.erased is None and self.deadline is not None and self.deadline <= today.isoformat()


@dataclass(frozen=True)
class Forgotten:
    """Users whose rows are left out wherever interactions are read.

    Parameters
    ----------
    key
        Secret of the digests, hexadecimal; empty where nobody was forgotten.
    digests
        Of the ids, hexadecimal.
    requests
        What was asked for, the oldest first.
    """

    key: str = ""
    digests: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()

    @classmethod
    def read(cls, workspace: Workspace) -> "Forgotten":
        """Read the users of a workspace.

        Raises
        ------
        DamagedDocumentError
            When their document is damaged: nothing would keep them out.
        """
        document = workspace.read_doc(layout.FORGOTTEN)
        if document is None:
            return cls()
        requests = tuple(Request(**one) for one in document["requests"])
        return cls(str(document["key"]), frozenset(document["digests"]), requests)

    def write(self, workspace: Workspace) -> None:
        """Write the users to a workspace."""
        requests = [asdict(one) for one in self.requests]
        document = {"key": self.key, "digests": sorted(self.digests), "requests": requests}
        workspace.write_doc(layout.FORGOTTEN, document)

    def __bool__(self) -> bool:
        return bool(self.digests)

    @property
    def name(self) -> str:
        """Fingerprint of who is forgotten, which names the data without them; empty for nobody."""
        return fingerprint(sorted(self.digests)) if self.digests else ""

    @property
    def pending(self) -> tuple[Request, ...]:
        """Requests whose users are not erased yet."""
        return tuple(one for one in self.requests if one.erased is None)

    @property
    def due(self) -> bool:
        """True where the deadline of a request has come."""
        today = datetime.now(UTC).date()
        return any(one.due(today) for one in self.requests)

    def keyed(self) -> "Forgotten":
        """Return these with a key: a new one where there is none."""
        return self if self.key else replace(self, key=secrets.token_hex(_KEY))

    def with_users(self, ids: Iterable[object], deadline: str | None) -> "Forgotten":
        """Return these and further users; a request that adds nobody changes no more than the deadline.

        Parameters
        ----------
        ids
            Of the users.
        deadline
            Day by which they are to be erased.
        """
        keyed = self.keyed()
        new = {keyed.digest(one) for one in ids} - self.digests
        if new:
            made = Request(len(new), _now(), deadline)
            return replace(keyed, digests=self.digests | new, requests=(*self.requests, made))
        requests = (_sooner(one, deadline) for one in self.requests)
        return replace(keyed, requests=tuple(requests))

    def all_erased(self) -> "Forgotten":
        """Return these with every request marked as done."""
        erased = (replace(one, erased=one.erased or _now()) for one in self.requests)
        return replace(self, requests=tuple(erased))

    def digest(self, user: object) -> str:
        """Return the digest of an id, hexadecimal; an integer and the text of it have the same."""
        text = id_text(user).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret, digest_size=_DIGEST).hexdigest()

    @cached_property
    def _secret(self) -> bytes:
        return bytes.fromhex(self.key)

    def among(self, ids: Array) -> npt.NDArray[np.bool_]:
        """Tell which of some ids, (n,) integers or objects of ``str``, are of forgotten users.

        Cost: a microsecond for each id.
        """
        if not self.digests:
            return np.zeros(len(ids), bool)
        return np.fromiter((self.digest(one) in self.digests for one in ids.tolist()), bool, len(ids))

    def kept(self, ids: "pa.Array") -> "pa.Array":
        """Return the sorted ids of a log's users without those who are forgotten.

        Raises
        ------
        DataError
            When nobody is left.
        """
        import pyarrow as pa

        if not self.digests:
            return ids
        parts = (ids.slice(start, _IDS) for start in range(0, len(ids), _IDS))
        found = np.concatenate(
            [np.zeros(0, bool), *(self.among(part.to_numpy(zero_copy_only=False)) for part in parts)]
        )
        if found.all():
            raise DataError(
                "every user of the log was forgotten in this workspace, so no interaction is left."
            )
        return ids.filter(pa.array(~found))

    def users_of(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """Tell which users of a dataset are forgotten, (n_users,); the ids are read by ranges.

        A dataset that was made without the same users is not read.
        """
        if not self.digests or dataset.stats.without == self.name:
            return np.zeros(dataset.n_users, bool)
        starts = range(0, dataset.n_users, _IDS)
        parts = (self.among(dataset.user_ids(start, min(start + _IDS, dataset.n_users))) for start in starts)
        return np.concatenate([np.zeros(0, bool), *parts])

    def told(self) -> JsonObject | None:
        """Return what results and ``status`` tell: neither key nor digests; None where nobody is forgotten.

        ``state`` is ``"erased"`` or ``"pending erasure"``; ``deadline`` is the first one that is pending.
        """
        if not self.requests:
            return None
        deadlines = [one.deadline for one in self.pending if one.deadline is not None]
        return {
            "state": "pending erasure" if self.pending else "erased",
            "users": sum(one.users for one in self.requests),
            "pending_users": sum(one.users for one in self.pending),
            "deadline": min(deadlines, default=None),
            "overdue": self.due,
            "requests": [asdict(one) for one in self.requests],
        }


def _sooner(request: Request, deadline: str | None) -> Request:
    """Return a pending request with the earlier of two deadlines."""
    if request.erased is not None or deadline is None:
        return request
    return replace(request, deadline=min(deadline, request.deadline or deadline))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
