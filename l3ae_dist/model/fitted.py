"""A fitted model is its workspace: opened in no time, asked for recommendations, neighbours and reasons."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from scipy import sparse

from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.graphs.head import Head
from l3ae_dist.graphs.panels import restricted
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.top_k import top_k
from l3ae_dist.model.arrays import ModelArrays
from l3ae_dist.model.cold_start import new_items, write_added
from l3ae_dist.model.queries import ItemList, history_of, id_list, users_of
from l3ae_dist.model.recommending import Query, common_items, recommend_batch
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.storage.workspace import Workspace

Kind = Literal["weights", "semantic", "collaborative"]
_COLD_ROWS = 64


class FittedModel(ModelArrays):
    """A model in a workspace: tiles are read as they are needed, and kept within the memory budget.

    Parameters
    ----------
    workspace
        A workspace in which a fit has finished.
    memory_budget
        Bytes that a call may hold (such as ``"2GiB"``), half of it for what is kept between calls.
    threads
        Threads of a call; all cores when None.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    """

    def save(self, url: str) -> None:
        """Copy what the model needs (neither the Gram matrix nor L) into a new workspace.

        Parameters
        ----------
        url
            Path or URL that is empty or not there.

        Raises
        ------
        WorkspaceError
            When something is there already.
        """
        from l3ae_dist.model.saving import save_model

        save_model(self.workspace, self.document, str(url))

    # ---- recommendations

    def recommend(self, users: Any, n: int = 20, **options: Any) -> Any:
        """The best ``n`` items of each user, in one table; see :meth:`recommend_batches` for the options.

        Parameters
        ----------
        users
            Known users by id; or histories of users who need not be known (fold-in): a list of lists of
            item ids, a mapping from user to item ids, a DataFrame with ``user_id``, ``item_id`` and perhaps
            ``weight``, or a sparse users x items matrix in catalog order.
        n
            Items for each; fewer where a user has fewer left.

        Returns
        -------
        DataFrame: user_id (or the position of the history), item_id, title, rank (1 is best), score. A user
        without any history gets no rows, for no item is better than another; nor one who may get nothing.
        """
        import pandas as pd

        frames = list(self.recommend_batches([] if users is None else users, n, **options))
        filled = [frame for frame in frames if len(frame)] or frames[:1]
        return pd.concat(filled, ignore_index=True)

    def recommend_batches(
        self,
        users: Any = None,
        n: int = 20,
        *,
        filter_already_liked: bool = True,
        filter_items: Any = None,
        items: Any = None,
        cold_items: bool = True,
        return_reasons: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[Any]:
        """Tables of recommendations for one batch of users after the other; never all of them.

        Parameters
        ----------
        users
            As :meth:`recommend` takes them; all known users when None.
        n
            Items for each.
        filter_already_liked
            Leave out what the user has.
        filter_items
            Items not to recommend: one list for every user, or one for each (a list of lists, a mapping from
            user to list, or a DataFrame with ``user_id`` and ``item_id``). A user whom a mapping does not
            name has no such list.
        items
            Items of which alone to recommend, in the same forms.
        cold_items
            Whether items of :meth:`add_items` take part.
        return_reasons
            So many items of the history that contribute most, in a column ``reasons``: dictionaries with
            item_id, title, collaborative, semantic and total.
        batch_size
            Users at a time; as many as the memory budget allows when None.

        Raises
        ------
        UnknownIdError
            Naming unknown users or items.
        ConfigError
            When ``n`` is not positive, or ``users`` is a single id.
        DataError
            For weights that are negative or NaN.

        Notes
        -----
        Every tile of the model is read once for a batch. Per batch 2 nnz n flops, and 2 d n min(users, n).
        """
        if n < 1:
            raise ConfigError(f"n is {n} and must be at least 1.")
        if return_reasons < 0 or (batch_size is not None and batch_size < 1):
            raise ConfigError("return_reasons must not be negative, and batch_size must be at least 1.")
        added = self.added()
        given = users_of(users, self.dataset, self.find_in_catalog)
        width, count = self.grid.n + len(added), len(given)
        allow, block = (
            None if value is None else ItemList(value, count, width, self.find, name)
            for value, name in ((items, "items"), (filter_items, "filter_items"))
        )
        candidates = common_items(width if cold_items else self.grid.n, allow, block)
        most = min(n, len(candidates))
        everything = len(candidates) == (width if cold_items else self.grid.n)
        query = Query(
            given, most, filter_already_liked, allow, block, return_reasons, added, cold_items,
            None if everything else candidates,
        )  # fmt: skip
        size = batch_size or self.server.batch_size(
            self.head, most, given.degree(), reasons=return_reasons > 0
        )
        starts = range(0, max(count, 1), size)
        return (recommend_batch(self, query, start, min(start + size, count)) for start in starts)

    # ---- neighbours, reasons, weights

    def similar_items(
        self, item_ids: Sequence[Any], n: int = 10, *, kind: Kind = "weights", cold_items: bool = True
    ) -> Any:
        """What owning an item recommends: the largest entries of its row of B.

        Parameters
        ----------
        item_ids
            Items of the catalog, or added ones: their row is that of a refit with the item in the catalog
            and nobody having it, and lists items of the catalog only.
        n
            Items for each.
        kind
            ``"weights"`` for B, ``"collaborative"`` or ``"semantic"`` for that part of it alone; an added
            item has no collaborative part, hence no rows.
        cold_items
            Whether added items may be listed.

        Returns
        -------
        DataFrame: item_id, similar_item_id, title, rank, score.

        Raises
        ------
        ConfigError
            For another kind, a part that the model does not have, a single id, or ``n`` below 1.
        """
        if n < 1:
            raise ConfigError(f"n is {n} and must be at least 1.")
        head, added = self._part(kind), self.added()
        wanted = self.find(id_list(item_ids, "item_ids"))
        n_added = len(added) if cold_items and kind != "collaborative" else 0
        k = min(n, self.grid.n + n_added)
        items, scores = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
        terms = self.cold.terms(added) if n_added else ()
        size = self.server.batch_size(head, k, 1.0)
        warm = np.flatnonzero(wanted < self.grid.n)
        for some in (warm[start : start + size] for start in range(0, len(warm), size)):
            one_hot = sparse.csr_matrix(
                (np.ones(len(some), np.float32), wanted[some], np.arange(len(some) + 1)),
                shape=(len(some), self.grid.n + n_added),
            )
            rows = one_hot[:, : self.grid.n]
            items[some], scores[some] = self.server.top(
                head, rows, k, Candidates(hidden=one_hot), terms, n_added
            )
        cold = np.flatnonzero((wanted >= self.grid.n) & (kind != "collaborative"))
        for start in range(0, len(cold), _COLD_ROWS):
            some = cold[start : start + _COLD_ROWS]
            rows = self.cold.rows(added.features[wanted[some] - self.grid.n])
            items[some, : self.grid.n], scores[some, : self.grid.n] = top_k(rows, min(k, self.grid.n))
        frame = self.table("of", self.named(wanted, added)[0], items, scores, added)
        return frame.rename(columns={"item_id": "similar_item_id", "of": "item_id"})

    def _part(self, kind: str) -> Head:
        if kind == "weights":
            return self.head
        if kind not in ("semantic", "collaborative"):
            raise ConfigError(f"kind is {kind!r} but must be weights, semantic or collaborative.")
        head = restricted(self.head, kind)  # type: ignore[arg-type]
        if not head.matrices and not head.products:
            raise ConfigError(f"{self.name} has no {kind} part; ask for kind='weights'.")
        return head

    def explain(self, user: Any, item_id: Any) -> Any:
        """How a score comes about: one row for each item of the history.

        Parameters
        ----------
        user
            A known user's id; or a history: item ids, a mapping from item id to weight, a DataFrame, or one
            sparse row.
        item_id
            Any item, added ones too.

        Returns
        -------
        DataFrame: item_id, title, collaborative, semantic, total; sorted by total, and summing to the
        score exactly (to rounding). An empty history has no rows.
        """
        import pandas as pd

        added = self.added()
        j = int(self.find([item_id])[0])
        row = history_of(user, self.dataset, self.find_in_catalog)
        weight = row.data.astype(np.float64)
        entries = self.pairs(row.indices, np.full(row.nnz, j), added)
        parts = {name: weight * entries[name] for name in ("collaborative", "semantic")}
        ids, titles = self.named(row.indices, added)
        total = parts["collaborative"] + parts["semantic"]
        frame = pd.DataFrame({"item_id": ids, "title": titles, **parts, "total": total})
        return frame.sort_values("total", ascending=False, ignore_index=True, kind="stable")

    # ---- items that came after the fit

    def add_items(self, items: Any, *, ids: Sequence[Any] | None = None, embeddings: Any = None) -> Array:
        """Make items that were not in the catalog recommendable from their text alone (cold start).

        Parameters
        ----------
        items
            A DataFrame with the columns of the fit's items, or a list of texts (of ids, beside
            ``embeddings`` alone).
        ids
            Of the texts; numbered after the largest id, or ``added-0`` and so on, when not given.
        embeddings
            (items, d) instead of embedding the text with the encoder that the workspace records.

        Returns
        -------
        The ids. An id that was added before replaces that item.

        Raises
        ------
        ConfigError
            When the model does not use text, or no encoder is known.
        DataError
            For ids that the catalog has, missing text, embeddings of another dimension or with NaN.
        WorkspaceLockedError
            While a run holds the workspace.
        """
        from l3ae_dist.embed.new_items import features_of_new

        self.cold.check()
        vectors = None if embeddings is None else np.asarray(embeddings)
        if not len(items):
            return np.empty(0, object)
        named, titles, texts = new_items(items, ids, vectors, self.dataset, self.added())
        embedding = str(self.document["embedding"])
        rows = features_of_new(embedding, self.dataset, texts, vectors)
        write_added(self.workspace, embedding, named, titles, rows)
        return named

    def append(self, interactions: Any, items: Any = None, **options: Any) -> "FittedModel":
        """Add interactions and fit again; see :func:`l3ae_dist.append`, which takes the same options.

        Returns
        -------
        The model of all interactions; this one stays as it is.
        """
        from l3ae_dist.pipeline.append import append

        append(self.workspace.url, interactions, items, **options)
        return load_model(self.workspace.url)

    def evaluate(
        self, *, compute: dict[str, Any] | None = None, on_event: OnEvent | None = None, **options: Any
    ) -> dict[str, Any]:
        """Measure the model on what the fit held out, beside EASE at the same ridge.

        Parameters
        ----------
        compute
            The configuration's section, such as ``{"memory_budget": "1GiB"}``.
        on_event
            Called with every event, such as a :func:`~l3ae_dist.runtime.watch.progress.progress_printer`.
        options
            The section ``evaluate`` of the configuration: ``metric``, ``ks``, ``by``, ``max_users``.

        Returns
        -------
        ``models`` with the metrics of each on ``valid`` and ``test``, ``comparison`` (paired over users) and
        what :func:`l3ae_dist.pipeline.run.run` tells of every run.

        Raises
        ------
        ConfigError
            When the fit held nothing out (``split`` is ``none``, an estimator's default).
        """
        from l3ae_dist.config.load import make_config
        from l3ae_dist.pipeline.run import evaluate_workspace

        values = {"workspace": self.workspace.url, "evaluate": options, "compute": compute or {}}
        return evaluate_workspace(make_config(values), on_event=on_event)

    def export_weights(self, path: Any, k: Any = 100, **options: Any) -> dict[str, Any]:
        """Write the ``k`` largest weights of each item; see :func:`l3ae_dist.model.export.export_weights`."""
        from l3ae_dist.model.export import export_weights

        return export_weights(self, path, k, **options)


def load_model(
    workspace: str, *, memory_budget: int | str = "2GiB", threads: int | None = None
) -> FittedModel:
    """Open the fitted model of a workspace, by path or URL; lazy, from any process.

    Parameters
    ----------
    workspace
        Path or URL.
    memory_budget, threads
        As :class:`FittedModel` takes them.
    """
    return FittedModel(Workspace.open(workspace), memory_budget=memory_budget, threads=threads)
