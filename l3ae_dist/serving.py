"""Recommend from an exported model with NumPy and SciPy alone: no Dask, Ray, Zarr or torch.

An export is a folder written by :meth:`l3ae_dist.model.fitted.FittedModel.export_weights`: ``header.json``,
``weights.npz`` (SciPy CSR matrix W, the largest weights of each column of B) and ``items.npz`` (ids, titles).
``scores = X @ W`` for users' histories X; column j of W predicts item j.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile
from scipy import sparse

from l3ae_dist.errors import ConfigError, DataError, UnknownIdError, WorkspaceError
from l3ae_dist.linalg.array_files import UNREADABLE, open_arrays, read_csr
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.messages import listed, shown
from l3ae_dist.storage.export_header import (
    FORMAT,
    FORMAT_VERSION,
    HEADER,
    ITEMS,
    WEIGHTS,
    ExportHeader,
    check_export_files,
    read_export_header,
)

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER",
    "ITEMS",
    "WEIGHTS",
    "ExportHeader",
    "ServedItem",
    "ServedModel",
    "load_export",
]
# Entries of a batch's sparse scores (about); bounds memory, and what a thread works on fits its cache.
_BATCH_SCORES = 1 << 20
_MAX_BATCH = 4096
# Users are padded to the longest of their group, whose candidates differ by at most this factor.
_PADDING = 1.5


class ServedItem(TypedDict):
    """A recommended item with its id, title and score."""

    item_id: int | str
    title: str
    score: float


def load_export(path: str | Path) -> "ServedModel":
    """Load an exported model.

    Parameters
    ----------
    path
        The folder that was exported to.

    Raises
    ------
    WorkspaceError
        When it is not a complete export in npz form, or a file is not the one that was exported.
    DamagedDocumentError
        When its header was edited or damaged.
    WorkspaceVersionError
        When another version of the format wrote it.
    """
    folder = Path(path)
    header = read_export_header(folder)
    check_export_files(folder, header)
    if not (folder / WEIGHTS).exists() and (folder / "weights.parquet").exists():
        raise WorkspaceError(f"{folder} holds Parquet only; export with `--format npz` to serve from it.")
    try:
        weights = read_csr(folder / WEIGHTS, header["n_items"], header["entries"])
        with open_arrays(folder / ITEMS) as items:
            ids, titles = (_Column(items, name, weights.shape[0]) for name in ("ids", "titles"))
    except UNREADABLE as error:
        raise WorkspaceError(
            f"the export {shown(str(folder))} cannot be read ({error}); export the model again."
        ) from error
    return ServedModel(header, weights, ids, titles)


class ServedModel:
    """An exported model in memory; safe to use from several threads.

    Attributes
    ----------
    header
        Model, parameters, k, certificate and format version.
    weights
        CSR (n, n): ``scores = X @ weights``.
    """

    def __init__(
        self, header: ExportHeader, weights: sparse.csr_matrix, ids: "_Column", titles: "_Column"
    ) -> None:
        self.header = header
        self.weights = weights
        self._ids = ids
        self._titles = titles

    def __repr__(self) -> str:
        return f"ServedModel({self.header['model']}, k={self.header['k']}, {self.n_items:,} items)"

    @property
    def n_items(self) -> int:
        """Number of items of the catalog."""
        return int(self.weights.shape[0])

    @cached_property
    def item_ids(self) -> Array:
        """Id of each catalog row: int64, or objects of ``str``."""
        return self._ids.values()

    @cached_property
    def titles(self) -> Array:
        """Title of each catalog row."""
        return self._titles.values()

    @cached_property
    def _index(self) -> dict[object, int]:
        return {item: row for row, item in enumerate(self.item_ids.tolist())}

    @cached_property
    def _without_liked(self) -> sparse.csr_matrix:
        """The weights with -inf on the diagonal: what is in a history never comes out on top."""
        diagonal = sparse.diags_array(np.full(self.n_items, -np.inf, self.weights.dtype))
        return sparse.csr_matrix(self.weights + diagonal)

    def warm(self) -> None:
        """Make what the first answer would wait for."""
        _ = self._index, self._without_liked

    def knows(self, item: object) -> bool:
        """Tell whether the catalog has an item."""
        return item in self._index

    def item_rows(self, item_ids: Sequence[object]) -> npt.NDArray[np.int64]:
        """Return the catalog rows of item ids.

        Raises
        ------
        UnknownIdError
            For ids that are not in the catalog.
        """
        index = self._index
        found = [index.get(item, -1) for item in item_ids]
        unknown = [item for item, row in zip(item_ids, found, strict=True) if row < 0]
        if unknown:
            raise UnknownIdError(
                f"{len(unknown)} item id(s) are not among the {self.n_items} known items: "
                f"{listed(unknown, 5)}; "
                "check the ids."
            )
        return np.asarray(found, np.int64)

    def recommend(
        self,
        histories: Sequence[Sequence[object]] | sparse.spmatrix,
        n: int = 20,
        *,
        filter_already_liked: bool = True,
        filter_items: Sequence[object] | None = None,
        items: Sequence[object] | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[np.int64], Array]:
        """Recommend the best ``n`` items for each history.

        Parameters
        ----------
        histories
            One sequence of item ids for each user, or a sparse matrix (users, n_items) of weights; 0 is none.
        n
            Items for each.
        filter_already_liked
            Leave out what is in the history.
        filter_items, items
            Item ids that are never, or alone, recommended.
        threads
            Threads that work on batches of users; the machine's cores when None.

        Returns
        -------
        Catalog rows (users, n) int64 and scores (users, n), best first, equal scores by lower row; row -1
        and score -inf where fewer than ``n`` items are left. An item that scores exactly 0, of which the
        kept weights say nothing, is left out. :meth:`named` gives ids and titles.

        Raises
        ------
        ConfigError
            When ``n`` is not positive.
        UnknownIdError
            For an unknown item id.
        DataError
            For a matrix of another width, or weights that are negative or not finite.
        """
        if n < 1:
            raise ConfigError(f"n is {n} and must be at least 1.")
        rows = self._histories(histories)
        allowed = self._allowed(filter_items, items)
        weights = self._without_liked if filter_already_liked else self.weights
        found = np.full((rows.shape[0], n), -1, np.int64)
        values = np.full((rows.shape[0], n), -np.inf, weights.dtype)

        def work(part: slice) -> None:
            scores = rows[part] @ weights
            if allowed is not None:
                scores.data[~allowed[scores.indices]] = -np.inf
            _best_of_rows(scores, found[part], values[part])

        parts = list(_batches(rows, weights))
        if len(parts) == 1:  # quicker than a thread is started
            work(parts[0])
            return found, values
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for _ in pool.map(work, parts):
                pass
        return found, values

    def similar_items(self, item_ids: Sequence[object], n: int = 10) -> tuple[npt.NDArray[np.int64], Array]:
        """List the items that each item speaks most for: the largest kept weights of its row of B.

        Parameters
        ----------
        item_ids
            Items of the catalog.
        n
            Number of items for each.

        Returns
        -------
        Catalog rows (items, n) int64 and weights (items, n), as :meth:`recommend` returns rows and scores.

        Raises
        ------
        ConfigError
            When ``n`` is not positive.
        UnknownIdError
            For an unknown item id.
        """
        return self.recommend([[item] for item in item_ids], n)

    def named(self, rows: Array, scores: Array) -> Iterator[list[ServedItem]]:
        """Yield ids, titles and scores of a result of :meth:`recommend`, one list for each user."""
        ids, titles = self.item_ids, self.titles
        for found, values in zip(rows, scores, strict=True):
            yield [
                {"item_id": ids[row], "title": titles[row], "score": float(value)}
                for row, value in zip(found, values, strict=True)
                if row >= 0
            ]

    def _histories(self, histories: Sequence[Sequence[object]] | sparse.spmatrix) -> sparse.csr_matrix:
        if not sparse.issparse(histories):
            lists = _lists(histories)
            columns = self.item_rows([item for history in lists for item in history])
            indptr = np.concatenate([[0], np.cumsum([len(history) for history in lists], dtype=np.int64)])
            data = np.ones(len(columns), self.weights.dtype)
            return sparse.csr_matrix((data, columns, indptr), shape=(len(lists), self.n_items))
        matrix: Matrix = histories
        if matrix.shape[1] != self.n_items:
            raise DataError(
                f"the histories have {matrix.shape[1]} columns and the model {self.n_items} items; "
                "give one column for each item."
            )
        rows = sparse.csr_matrix(matrix, dtype=self.weights.dtype, copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()  # no interactions
        if not (np.isfinite(rows.data) & (rows.data > 0)).all():
            raise DataError("the histories hold weights that are negative or not finite; drop those entries.")
        return rows

    def _allowed(self, filter_items: Sequence[object] | None, items: Sequence[object] | None) -> Array | None:
        if filter_items is None and items is None:
            return None
        allowed = np.full(self.n_items, items is None)
        if items is not None:
            allowed[self.item_rows(items)] = True
        if filter_items is not None:
            allowed[self.item_rows(filter_items)] = False
        return allowed


class _Column:
    """Ids or strings as they are stored: int64, or UTF-8 bytes and offsets; decoded when asked for."""

    def __init__(self, arrays: NpzFile, name: str, n: int) -> None:
        self._data = arrays[name]
        self._offsets = arrays.get(f"{name}_offsets")
        count = len(self._data) if self._offsets is None else len(self._offsets) - 1
        if count != n:
            raise ValueError(f"there are {count:,} {name} of {n:,} items")

    def values(self) -> Array:
        """Return the column as int64, or as objects of ``str``."""
        if self._offsets is None:
            return np.asarray(self._data)
        data, cuts = self._data.tobytes(), self._offsets.tolist()
        out = np.empty(len(cuts) - 1, object)
        for i in range(len(out)):
            out[i] = data[cuts[i] : cuts[i + 1]].decode()
        return out


def _lists(histories: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return histories as lists of distinct ids; refuse a single one, and rows of a dense array."""
    array = getattr(histories, "ndim", 1) != 1
    if array or isinstance(histories, str | bytes) or not isinstance(histories, Iterable):
        raise _no_lists(f"the histories are {shown(histories)}")
    lists = []
    for history in histories:
        scalar = isinstance(history, str | bytes) or not isinstance(history, Iterable)
        if scalar or getattr(getattr(history, "dtype", None), "kind", "i") in "fb":
            raise _no_lists(f"a history is {shown(history)}")
        lists.append(list(dict.fromkeys(history)))
    return lists


def _no_lists(what: str) -> DataError:
    return DataError(
        f"{what}; give a list of item ids for each user, or scipy.sparse.csr_array(array) where an array is "
        "users x items."
    )


def _batches(rows: sparse.csr_matrix, weights: sparse.csr_matrix) -> Iterator[slice]:
    """Consecutive users whose products have a bounded number of terms."""
    terms = np.concatenate([[0], np.cumsum(np.diff(weights.indptr)[rows.indices], dtype=np.int64)])
    before = terms[rows.indptr]
    start = 0
    while start < rows.shape[0]:
        stop = int(np.searchsorted(before, before[start] + _BATCH_SCORES, side="right")) - 1
        stop = max(start + 1, min(stop, start + _MAX_BATCH, rows.shape[0]))
        yield slice(start, stop)
        start = stop


def _best_of_rows(scores: sparse.csr_matrix, items: Array, values: Array) -> None:
    """Write the best entries of each sparse row into ``items`` and ``values``, (users, n) both."""
    counts = np.diff(scores.indptr)
    order = np.argsort(counts, kind="stable")
    start = int(np.searchsorted(counts[order], 1))
    while start < len(order):
        limit = max(int(counts[order[start]] * _PADDING), 2 * items.shape[1])
        stop = int(np.searchsorted(counts[order], limit, side="right"))
        _best_of_group(scores, order[start:stop], items, values)
        start = stop


def _best_of_group(scores: sparse.csr_matrix, users: Array, items: Array, values: Array) -> None:
    """Rank like :func:`_best_of_rows`, for rows of similar length, padded to the longest."""
    n = items.shape[1]
    first = scores.indptr[users, None]
    lengths = scores.indptr[users + 1, None] - first
    place = np.arange(int(lengths.max()), dtype=first.dtype)
    padded = scores.data.take(first + place, mode="clip")
    padded[place >= lengths] = -np.inf
    if padded.shape[1] > n:
        floor = np.partition(padded, padded.shape[1] - n, axis=1)[:, -n, None]
        chosen = padded >= floor
        chosen &= padded > -np.inf
    else:
        chosen = padded > -np.inf
    # indices are in no order: of equal scores the lower item is found by sorting what is left
    owner, slot = np.nonzero(chosen)
    found = scores.indices[first[owner, 0] + slot]
    value = padded[owner, slot]
    order = np.lexsort((found, -value, owner))
    owner = owner[order]
    kept = np.bincount(owner, minlength=len(users))
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(kept) - kept, kept)
    order, owner, rank = order[rank < n], owner[rank < n], rank[rank < n]
    items[users[owner], rank] = found[order]
    values[users[owner], rank] = value[order]
