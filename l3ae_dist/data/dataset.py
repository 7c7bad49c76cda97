"""An ingested dataset: lazy, by ranges, never the whole log."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.catalog import NO_ITEMS
from l3ae_dist.data.columns import read_column
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.errors import DataError, StageMissingError, UnknownIdError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

# Users, and texts, that are read at once where some among them are wanted.
_GATHER = 1 << 16
_GATHER_TEXTS = 1 << 12
_LARGEST = 2**63 - 1
# Integers as they are written where ids are integers.
_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")


class Dataset:
    """Ids, texts, the training matrix by columns and every split by rows, read by ranges.

    Parameters
    ----------
    workspace
        Where it was ingested.
    identifier
        The dataset's id.

    Raises
    ------
    StageMissingError
        When the dataset is not (completely) there.

    Attributes
    ----------
    id
        The dataset's id.
    stats
        Its :class:`~l3ae_dist.data.dataset_stats.DatasetStats`: users, items, interactions of each split.
    options
        The ingest options that it was made with.
    catalog
        Names the items and their texts, which several datasets may share.
    n_users, n_items
        Rows and columns of the interactions.
    has_text, weighted
        Whether the items have text, and the interactions weights.
    """

    def __init__(self, workspace: Workspace, identifier: str) -> None:
        self.workspace = workspace
        self.id = identifier
        self.paths = layout.DatasetPaths(identifier)
        record = workspace.stage_done(Stage.INGEST, identifier)
        if record is None:
            raise StageMissingError(
                f"the dataset {shown(identifier)} in {workspace.url} is missing, incomplete or damaged; run "
                "`l3ae-dist run` with its interactions and items, which the ingest stage reads, and append "
                "again what was appended."
            )
        self.stats = DatasetStats.of_record(record.stats)
        self.options: dict[str, Any] = record.params
        self.catalog = self.stats.catalog or identifier
        self.n_users, self.n_items = self.stats.n_users, self.stats.n_items
        self.has_text, self.weighted = self.stats.has_text, self.stats.weighted

    def item_ids(self, start: int = 0, stop: int | None = None) -> Array:
        """Return the ids of the items ``start`` to ``stop``, in catalog order: int64, or ``str`` objects."""
        return read_column(self.workspace, self.paths.item_ids, start, stop)

    def user_ids(self, start: int = 0, stop: int | None = None) -> Array:
        """Return the ids of the users ``start`` to ``stop``, sorted: int64, or ``str`` objects."""
        return read_column(self.workspace, self.paths.user_ids, start, stop)

    def titles(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the titles of the items ``start`` to ``stop``."""
        return list(read_column(self.workspace, self.paths.titles, start, stop))

    def texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the texts of the items ``start`` to ``stop``, which are what is embedded."""
        return list(read_column(self.workspace, self.paths.texts, start, stop))

    def texts_of(self, rows: Array) -> list[str]:
        """Return the texts of ascending rows, read in ranges that hold some of them."""
        found: list[str] = []
        for start in range(0, self.n_items, _GATHER_TEXTS):
            wanted = rows[(rows >= start) & (rows < start + _GATHER_TEXTS)]
            if len(wanted):
                first = int(wanted[0])
                texts = self.texts(first, int(wanted[-1]) + 1)
                found += [texts[row - first] for row in wanted.tolist()]
        return found

    def require_text(self) -> None:
        """Raise :class:`DataError` with the reason when the items have no text."""
        if not self.has_text:
            reason = self.stats.no_text or "the items have no text"
            advice = "give items (data.items)" if reason == NO_ITEMS else "set text_columns"
            raise DataError(f"{reason}; the model needs item text: {advice} or give embeddings.")

    def user_index(self, ids: Sequence[object]) -> npt.NDArray[np.int64]:
        """Return the rows of user ids; raise :class:`UnknownIdError` naming the first unknown ones."""
        return _lookup(self._user_lookup, ids, "user")

    def find_users(self, ids: Sequence[object]) -> npt.NDArray[np.int64]:
        """Return the rows of user ids, -1 where there is no such user."""
        return find_ids(self._user_lookup, ids)

    def user_labels(self, ids: Sequence[object]) -> Array:
        """Return user ids, known or not, in the form of the dataset's; text that is no integer as it is."""
        found = np.empty(len(ids), object)
        if self._user_lookup.dtype == object:
            found[:] = [id_text(one) for one in ids]
            return found
        whole = [_as_integer(one) for one in ids]
        fits = [one is not None and abs(one) <= _LARGEST for one in whole]
        if all(fits):
            return np.array(whole, np.int64)
        found[:] = [one if fit else id_text(given) for one, fit, given in zip(whole, fits, ids, strict=True)]
        return found

    def find_items(self, ids: Sequence[object]) -> npt.NDArray[np.int64]:
        """Return the rows of item ids, -1 where an id is not in the catalog."""
        return find_ids(self.item_lookup, ids)

    @cached_property
    def item_lookup(self) -> "pd.Index":
        """Pandas index of the item ids."""
        import pandas as pd

        ids = self.item_ids()
        return pd.Index(ids, dtype=ids.dtype)

    @cached_property
    def _user_lookup(self) -> "pd.Index":
        import pandas as pd

        ids = self.user_ids()
        return pd.Index(ids, dtype=ids.dtype)

    def popularity(self) -> npt.NDArray[np.int64]:
        """Count the training interactions of each item, (n_items,)."""
        indptr = Vector(self.workspace, self.paths.train_by_item.indptr)
        return np.diff(indptr[:]).astype(np.int64)

    def activity(self) -> npt.NDArray[np.int64]:
        """Count the interactions of each user that are known at prediction time, (n_users,)."""
        name: layout.Split = "input" if self.stats.foldin else "train"
        indptr = Vector(self.workspace, self.paths.by_user(name).indptr)
        return np.diff(indptr[:]).astype(np.int64)

    @property
    def n_core(self) -> int:
        """Number of the items that are solved exactly, which come first; all where there is no core."""
        return self.stats.n_items if self.stats.core is None else self.stats.core.items

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """Catalog row of each stored item, (n_items,)."""
        if self.stats.core is None:
            return np.arange(self.stats.n_items)
        return Vector(self.workspace, self.paths.order)[:]

    def max_count(self) -> int:
        """Return the largest popularity."""
        return self.stats.max_popularity

    def nnz(self, split: layout.Split) -> int:
        """Count the interactions of a split."""
        return self.stats.nnz[split]

    def columns(self, start: int, stop: int) -> sparse.csc_matrix:
        """Read columns of the training matrix, (n_users, stop - start) float32; one contiguous read."""
        stored = self._compressed(self.paths.train_by_item, start, stop)
        return sparse.csc_matrix(stored, shape=(self.n_users, stop - start))

    def user_rows(self, split: layout.Split, start: int, stop: int) -> sparse.csr_matrix:
        """Read the interactions of consecutive users, (stop - start, n_items) float32.

        Parameters
        ----------
        split
            ``"train"``, ``"valid"``, ``"test"`` or ``"input"``: what is known of a user at prediction time,
            which is the training rows, and the fold-in rows of users that the strong split holds out.
        start, stop
            Range of user rows.
        """
        stored = self._compressed(self._paths_by_user(split), start, stop)
        return sparse.csr_matrix(stored, shape=(stop - start, self.n_items))

    def _paths_by_user(self, split: layout.Split) -> layout.SparseRowPaths:
        """Return where the rows of a split are; what is known of users is the training split mostly."""
        return self.paths.by_user("train" if split == "input" and not self.stats.foldin else split)

    def rows_of(self, split: layout.Split, users: Array) -> sparse.csr_matrix:
        """Return the rows of a split for ascending user indices, (len(users), n_items), read in ranges."""
        if len(users) == int(users[-1]) - int(users[0]) + 1:
            return self.user_rows(split, int(users[0]), int(users[-1]) + 1)
        parts = []
        for start in range(int(users[0]), int(users[-1]) + 1, _GATHER):
            wanted = users[(users >= start) & (users < start + _GATHER)]
            if len(wanted):
                last = int(wanted[-1]) + 1
                parts.append(self.user_rows(split, start, last)[wanted - start])
        return sparse.vstack(parts, format="csr")

    def _compressed(self, paths: layout.SparseRowPaths, start: int, stop: int) -> tuple[Array, Array, Array]:
        indptr = Vector(self.workspace, paths.indptr)[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        indices = Vector(self.workspace, paths.indices)[first:last]
        if self.weighted:
            data = Vector(self.workspace, paths.data)[first:last]
        else:
            data = np.ones(last - first, np.float32)
        return data, indices, indptr - first


def find_ids(index: "pd.Index", ids: Sequence[object] | Array) -> npt.NDArray[np.int64]:
    """Return positions of ids in an index, -1 where unknown.

    Integers are read as text where the index holds text. Text is read as an integer where the index holds
    those and it is written as one: ``7``, and not ``007``.
    """
    if not len(ids):
        return np.empty(0, np.int64)
    import pandas as pd

    text = index.dtype == object
    wanted, known = _like(ids, text=text)
    if text:  # as it is: pandas would make Arrow's strings of it, which hold no surrogates
        wanted = pd.Index(wanted, dtype=object)
    return np.where(known, index.get_indexer(wanted), -1).astype(np.int64)


def _like(ids: Sequence[object] | Array, *, text: bool) -> tuple[Array, Array]:
    """Return ids as text or int64, and where they can be either at all."""
    everywhere = np.ones(1, bool)
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and not text:
        return ids.astype(np.int64), ids <= _LARGEST
    values = ids.tolist() if isinstance(ids, np.ndarray) else ids
    if all(type(one) is (str if text else int) for one in values):
        wanted = np.array(values, object)
        return (wanted, everywhere) if text else _within(wanted)
    read = [_as_text(one) if text else _as_integer(one) for one in values]
    known = np.array([one is not None for one in read])
    if text:
        return np.array([one or "" for one in read], object), known
    wanted, within = _within(np.array([one or 0 for one in read], object))
    return wanted, known & within


def _within(integers: Array) -> tuple[Array, Array]:
    """Return Python's integers as int64, and where they fit."""
    fits = (integers >= -_LARGEST - 1) & (integers <= _LARGEST)
    return np.where(fits, integers, 0).astype(np.int64), fits.astype(bool)


def id_text(value: object) -> str:
    """Return an id as text, as which the same id has one form: ``7`` for 7, "7" and 7.0.

    >>> id_text(7), id_text(7.0), id_text("007")
    ('7', '7', '007')
    """
    text = _as_text(value)
    return str(value) if text is None else text


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    integer = _as_integer(value)
    return None if integer is None else str(integer)


def _as_integer(value: object) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None


def unknown_ids(
    ids: Sequence[object] | Array, positions: Array, kind: str, index: "pd.Index", more: int = 0
) -> UnknownIdError:
    """Make the error for ids whose position is negative; it names the first of them.

    Parameters
    ----------
    ids
        All ids.
    positions
        Of each; negative for an unknown one.
    kind
        What they are of: ``"user"`` or ``"item"``.
    index
        The known ids.
    more
        How many are known beside these.
    """
    unknown = [ids[int(position)] for position in np.flatnonzero(positions < 0)[:5]]
    return UnknownIdError(
        f"{int((positions < 0).sum())} {kind} id(s) are not among the {len(index) + more} known {kind}s: "
        f"{listed(unknown)}; {_other_kind(unknown[0], kind, index)}check the ids."
    )


def _other_kind(unknown: object, kind: str, index: "pd.Index") -> str:
    """Say that an id is text and the known ones integers, or the other way round."""
    text = index.dtype == object
    if not len(index) or isinstance(unknown, str) == text or (not text and _as_integer(unknown) is not None):
        return ""
    given, known = ("text", "integers") if isinstance(unknown, str) else ("no text", "text")
    return f"{shown(unknown, 40)} is {given} and {kind} ids are {known} here, such as {shown(index[0], 40)}; "


def _lookup(index: "pd.Index", ids: Sequence[object], kind: str) -> npt.NDArray[np.int64]:
    found = find_ids(index, ids)
    if (found < 0).any():
        raise unknown_ids(ids, found, kind, index)
    return found
