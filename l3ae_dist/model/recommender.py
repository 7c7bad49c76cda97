"""The answers of a fitted model, which an estimator gives too once it is fitted."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from l3ae_dist.data.tables import Frame, Histories, History, Id, ItemLists, Table
from l3ae_dist.linalg.arrays import Floats
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.model.neighbours import WeightPart, similar_items
from l3ae_dist.model.pair_scores import held_out_ndcg, pair_scores
from l3ae_dist.model.popular import OnUnknown
from l3ae_dist.model.reasons import explain
from l3ae_dist.model.rules import Rules
from l3ae_dist.model.similar_users import similar_users
from l3ae_dist.model.user_batches import recommend_batches


class Recommender(ABC):
    """Base class of what recommends: a fitted model and the estimators."""

    @abstractmethod
    def _fitted(self) -> ModelArrays:
        """Return the arrays of the fitted model."""

    def recommend(
        self,
        users: Histories,
        n: int = 20,
        *,
        filter_already_liked: bool = True,
        filter_items: "ItemLists | None" = None,
        items: "ItemLists | None" = None,
        cold_items: bool = True,
        return_reasons: int = 0,
        batch_size: int | None = None,
        on_unknown: OnUnknown = "raise",
    ) -> Frame:
        """Recommend the best ``n`` items to each user, in one table.

        Parameters
        ----------
        users
            Known users by id, in a list, array, Series or Index; or histories of users who need not be known
            (fold-in): a list of lists of item ids, a mapping from user to item ids, a table with ``user_id``,
            ``item_id`` and perhaps ``weight`` (DataFrame of pandas or Polars, Arrow table), or a sparse users
            x items matrix in catalog order. A mapping from item id to weight may stand in place of a list. An
            item of weight 0 is none.
        n
            Number of items for each user; fewer where a user has fewer left.
        filter_already_liked
            Leave out what the user has.
        filter_items
            Items not to recommend: one list for every user, or one for each (a list of lists, a mapping from
            user to list, or a table with ``user_id`` and ``item_id``). A user whom a mapping does not
            name has no such list.
        items
            The only items that may be recommended, in the same forms.
        cold_items
            Whether items of :meth:`add_items` take part.
        return_reasons
            So many items of the history that contribute most, in a column ``reasons``: dictionaries with
            item_id, title, collaborative, semantic and total.
        batch_size
            Users at a time; as many as the memory budget allows when None.
        on_unknown
            Users by id whom the fit does not know are refused (``"raise"``), get no rows (``"skip"``), or the
            items with most training interactions (``"popular"``), as then do users without any history; the
            score of these is NaN.

        Returns
        -------
        DataFrame: user_id (or the position of the history), item_id, title, rank (1 is best), score. A user
        without any history gets no rows else, for no item is better than another; nor who may get nothing.

        Raises
        ------
        UnknownIdError
            Naming unknown users or items.
        ConfigError
            When ``n`` is not positive, or ``users`` is a single id.
        DataError
            For weights that are negative or NaN, or a dense array of several dimensions.

        Notes
        -----
        Every tile of the model is read once for a batch. Per batch 2 nnz n flops, and 2 d n min(users, n).
        """
        import pandas as pd

        rules = Rules(filter_already_liked, filter_items, items, cold_items)
        given: Histories = [] if users is None else users
        frames = list(
            recommend_batches(
                self._fitted(),
                given,
                n,
                rules,
                reasons=return_reasons,
                batch_size=batch_size,
                on_unknown=on_unknown,
            )
        )
        filled = [frame for frame in frames if len(frame)] or frames[:1]
        return pd.concat(filled, ignore_index=True)

    def recommend_batches(
        self,
        users: "Histories | None" = None,
        n: int = 20,
        *,
        filter_already_liked: bool = True,
        filter_items: "ItemLists | None" = None,
        items: "ItemLists | None" = None,
        cold_items: bool = True,
        return_reasons: int = 0,
        batch_size: int | None = None,
        on_unknown: OnUnknown = "raise",
    ) -> Iterator[Frame]:
        """Recommend items to users batch by batch, so that the tables are never all in memory.

        Parameters
        ----------
        users
            As :meth:`recommend` takes them; all known users when None.
        n, filter_already_liked, filter_items, items, cold_items, return_reasons, batch_size, on_unknown
            As :meth:`recommend` takes them.

        Yields
        ------
        Tables as :meth:`recommend` returns them. Arguments are checked before the first one, by the call.

        Raises
        ------
        UnknownIdError
            Naming unknown users or items.
        ConfigError
            When ``n`` is not positive, or ``users`` is a single id.
        DataError
            For weights that are negative or NaN.
        """
        rules = Rules(filter_already_liked, filter_items, items, cold_items)
        return recommend_batches(
            self._fitted(),
            users,
            n,
            rules,
            reasons=return_reasons,
            batch_size=batch_size,
            on_unknown=on_unknown,
        )

    def similar_items(
        self, item_ids: Sequence[Id], n: int = 10, *, kind: WeightPart = "weights", cold_items: bool = True
    ) -> Frame:
        """Return what owning an item recommends: the largest entries of its row of B.

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
        UnknownIdError
            Naming unknown items.
        ConfigError
            For another kind, a part that the model does not have, a single id, or ``n`` below 1.
        """
        return similar_items(self._fitted(), item_ids, n, kind, cold_items)

    def similar_users(self, user_ids: Sequence[Id], n: int = 10) -> Frame:
        """Return the users whose histories are most like those of some users, by their cosine.

        The measure is that of the interactions, which the model knows users by; the items in common decide.

        Parameters
        ----------
        user_ids
            Known users.
        n
            Users for each; fewer where fewer have an item in common.

        Returns
        -------
        DataFrame: user_id, similar_user_id, rank, score (the cosine, 0 to 1).

        Raises
        ------
        UnknownIdError
            Naming unknown users.
        ConfigError
            For a single id, or ``n`` below 1.

        Notes
        -----
        One pass over the interactions, a block of users at a time.
        """
        return similar_users(self._fitted(), user_ids, n)

    def predict(self, pairs: Table) -> Floats:
        """Return the score of each pair of a user and an item, in the order of the rows.

        Parameters
        ----------
        pairs
            A table with ``user_id`` and ``item_id``; users are known, items are of the catalog or added.

        Returns
        -------
        (rows,) float64; NaN for a user without a history.

        Raises
        ------
        UnknownIdError
            Naming unknown users or items.
        DataError
            For a table without these columns.
        """
        return pair_scores(self._fitted(), pairs)

    def score(self, interactions: Table, y: None = None) -> float:
        """Return the NDCG@20 of recommendations to the users of some interactions, the relevant items.

        Items that the fit knows of a user are not recommended, and count as missed where they are relevant.
        Users whom it does not know count with 0.

        Parameters
        ----------
        interactions
            A table with ``user_id`` and ``item_id`` of what users did beside what was fitted.
        y
            Not used; scikit-learn's tools pass it.

        Raises
        ------
        DataError
            For a table without these columns, or without rows.
        """
        return held_out_ndcg(self._fitted(), interactions)

    def explain(self, user: History, item_id: Id) -> Frame:
        """Split a user's score of an item over the user's history: one row for each item of it.

        Parameters
        ----------
        user
            A known user's id; or a history: item ids, a mapping from item id to weight, a table, or one
            sparse row.
        item_id
            Any item, added ones too.

        Returns
        -------
        DataFrame: item_id, title, collaborative, semantic, total; sorted by total, and summing to the
        score exactly (to rounding). An empty history has no rows.

        Raises
        ------
        UnknownIdError
            For a user or item that is not known.
        DataError
            For a history with an added item, or weights that cannot be used.
        """
        return explain(self._fitted(), user, item_id)

    def weights(self, item_ids: Sequence[Id]) -> Floats:
        """Return columns of B, the weights of all items in the scores of some.

        Parameters
        ----------
        item_ids
            Items of the catalog, or added ones.

        Returns
        -------
        (n_items, len(item_ids)) float64: column j predicts item j. ``scores = X @ weights`` for histories X.

        Raises
        ------
        UnknownIdError
            Naming unknown items.
        ConfigError
            For a single id.
        """
        return self._fitted().weight_columns(item_ids)
