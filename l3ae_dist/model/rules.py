"""Rules on the items that a user may be recommended: those owned already, lists to allow and to refuse."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from l3ae_dist.data.tables import Id, ItemLists
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.graphs.batch_scoring import Candidates
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.messages import named, shown
from l3ae_dist.model.histories import ITEM, USER, is_table, labels_agree
from l3ae_dist.model.id_lists import FindItems, id_list, is_lists, positions_of
from l3ae_dist.model.users import Batch


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one call, as it states them.

    Parameters
    ----------
    filter_already_liked
        Whether to leave out what the user has.
    filter_items
        Items not to recommend, in any form that :class:`ItemList` takes; None for none.
    items
        Items of which alone to recommend, likewise; None for all.
    cold_items
        Whether items that were added after the fit take part.
    """

    filter_already_liked: bool = True
    filter_items: "ItemLists | None" = None
    items: "ItemLists | None" = None
    cold_items: bool = True


class AllowedItems:
    """The rules of one call by item position, checked.

    Parameters
    ----------
    rules
        What the call states.
    users
        How many users it is for.
    n_items, n_added
        Items of the catalog, and items added after the fit, whose positions follow.
    find
        Ids to positions.
    """

    def __init__(self, rules: Rules, users: int, n_items: int, n_added: int, find: FindItems) -> None:
        self._hide_liked = rules.filter_already_liked
        self._width = n_items + n_added
        self._allow, self._refuse = (
            None if value is None else ItemList(value, users, self._width, find, name)
            for value, name in ((rules.items, "items"), (rules.filter_items, "filter_items"))
        )
        self._scored = self._width if rules.cold_items else n_items
        self._common = self._for_every_user()

    def __len__(self) -> int:
        """Count the items that no list for every user takes out."""
        return len(self._common)

    def _for_every_user(self) -> Integers:
        chosen = np.arange(self._scored)
        if self._allow is not None and self._allow.common is not None:
            chosen = self._allow.common[self._allow.common < self._scored]
        if self._refuse is not None and self._refuse.common is not None:
            chosen = np.setdiff1d(chosen, self._refuse.common, assume_unique=True)
        return chosen

    def candidates(self, batch: Batch) -> Candidates:
        """Return what the users of a batch that have a history may get."""
        only, listed = None, None
        if self._allow is not None and self._allow.common is None:
            only, listed = self._allow.of_users(batch.start, batch.labels)
            only, listed = only[batch.known], listed[batch.known]
        items = None if len(self) == self._scored else self._common
        return Candidates(items, self._hidden(batch), only, listed)

    def _hidden(self, batch: Batch) -> sparse.csr_matrix | None:
        hidden, rows = None, batch.rows
        if self._hide_liked:
            ones = np.ones(rows.nnz, np.float32)
            hidden = sparse.csr_matrix((ones, rows.indices, rows.indptr), shape=(rows.shape[0], self._width))
        if self._refuse is not None and self._refuse.common is None:
            refused = self._refuse.of_users(batch.start, batch.labels)[0][batch.known]
            hidden = refused if hidden is None else hidden + refused
        return hidden


class ItemList:
    """An allow-list or a block-list, for every user or one for each.

    Parameters
    ----------
    value
        Item ids; or for each user a list, by position in a list of lists, by user id in a mapping, or as
        rows ``user_id``, ``item_id`` of a DataFrame (one without ``user_id`` is for every user).
    users
        How many users there are.
    width
        Item positions.
    find
        Ids to positions.
    name
        What the argument is called in errors.
    """

    def __init__(self, value: object, users: int, width: int, find: FindItems, name: str) -> None:
        self.common: Array | None = None
        self._rows = sparse.csr_matrix((0, width), dtype=np.float32)
        self._of_user: dict[object, int] | None = None
        self._name = name
        if is_table(value):
            value = _lists_of_table(value, name)
        if isinstance(value, Mapping):
            self._of_user = {user: row for row, user in enumerate(value)}
            self._rows = positions_of(value.values(), width, find, name)
            return
        values = id_list(value, name)
        if is_lists(values, name):
            if len(values) != users:
                raise ConfigError(f"{name} has {len(values)} lists for {users} users; give one for each.")
            self._rows = positions_of(values, width, find, name)
            return
        self.common = np.unique(find(values)) if values else np.empty(0, np.int64)

    def of_users(self, start: int, labels: Array) -> tuple[sparse.csr_matrix, Array]:
        """Return the lists of the users from ``start`` on, (users, width), and which of them have one."""
        if self._of_user is None:
            return self._rows[start : start + len(labels)], np.ones(len(labels), bool)
        if self._of_user and not labels_agree(labels, self._of_user):
            user, key = shown(labels[0]), shown(next(iter(self._of_user)))
            raise DataError(
                f"{self._name} names users such as {key} and the users of the call are such as {user}: one "
                "is text and the other an integer; write both alike."
            )
        last = self._rows.shape[0]
        which = np.array([self._of_user.get(label, last) for label in labels.tolist()], np.int64)
        none = sparse.csr_matrix((1, self._rows.shape[1]), dtype=np.float32)
        return sparse.vstack([self._rows, none], format="csr")[which], which < last


def _lists_of_table(table: object, name: str) -> list[Id] | dict[Id, list[Id]]:
    """A table of items as one list, or as a list for each of its users."""
    from l3ae_dist.data.intake.open_table import open_table
    from l3ae_dist.data.intake.small_tables import form_of_ids, read_small

    opened = open_table(table, name)
    if ITEM not in opened.columns:
        raise DataError(f"{name} has no column {shown(ITEM)}; it has {named(opened.columns)}.")
    small = read_small(opened, name, (ITEM, USER))
    frame = small.frame({column: form_of_ids([small], column) for column in small.ids})
    if USER in frame.columns:
        return {user: ids.tolist() for user, ids in frame.groupby(USER)[ITEM]}
    listed: list[Id] = frame[ITEM].tolist()
    return listed
