"""The models that answer: an export in memory, or a fitted model of a workspace, by the same calls."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NotRequired, Protocol, TypedDict

import numpy as np
from scipy import sparse

from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import shown
from l3ae_dist.serve.schema import ItemsRequest, RecommendRequest, SimilarRequest
from l3ae_dist.serving import load_export
from l3ae_dist.storage.export_header import HEADER

ItemId = int | str


# An integer as it is written, of at most 18 digits.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)


class Why(TypedDict):
    """An item of a history, and its part of a score."""

    item_id: ItemId
    title: str
    total: float


class Entry(TypedDict):
    """An item of a list."""

    item_id: ItemId
    title: str
    score: float
    reasons: NotRequired[list[Why]]


class About(TypedDict):
    """The model that answers, as it is told to those who ask for it."""

    model: str
    member: str
    params: Mapping[str, object]
    certificate: Mapping[str, object]
    items: int
    source: Literal["export", "workspace"]


Lists = list[list[Entry]]


class Answers(Protocol):
    """A model that is ready to answer; one object serves many threads."""

    quick: bool
    """True where a short history takes less than a millisecond: less than to hand it to a thread."""
    name: str
    """Name of the model."""

    def about(self) -> About:
        """Return the fields of :class:`~l3ae_dist.serve.schema.ModelAnswer`."""

    def recommend(self, asked: RecommendRequest) -> Lists:
        """Return the lists of the users or histories."""

    def similar(self, asked: SimilarRequest) -> Lists:
        """Return the neighbours of the items."""

    def add(self, asked: ItemsRequest) -> list[ItemId]:
        """Make items recommendable from their text; return their ids."""


class ExportAnswers:
    """An export, which knows items and no users; items that a history touches alone are scored.

    Parameters
    ----------
    folder
        Of the export.
    """

    quick = True

    def __init__(self, folder: Path) -> None:
        self._model = load_export(folder)
        self.name = folder.resolve().name
        self._ids, self._titles = self._model.item_ids.tolist(), self._model.titles.tolist()
        self._text = self._model.item_ids.dtype == object
        self._model.warm()

    def about(self) -> About:
        """Return what answers now."""
        header = self._model.header
        return {
            "model": self.name,
            "member": header["model"],
            "params": header["params"],
            "certificate": header["certificate"],
            "items": header["n_items"],
            "source": "export",
        }

    def recommend(self, asked: RecommendRequest) -> Lists:
        """Return the lists of the histories.

        Raises
        ------
        ConfigError
            For users: an export has no histories.
        UnknownIdError
            Naming unknown items.
        """
        if asked.histories is None:
            raise ConfigError("an export knows no users; send their histories, or serve the workspace.")
        rows = self._rows(asked)
        items, scores = self._model.recommend(
            rows,
            asked.n,
            filter_already_liked=asked.exclude_seen,
            filter_items=self._alike(asked.block),
            items=self._alike(asked.allow),
        )
        lists = self._named(items, scores)
        if asked.reasons:
            for user, found in enumerate(lists):
                chosen = items[user, : len(found)]
                for one, why in zip(found, self._reasons(rows[[user]], chosen, asked.reasons), strict=True):
                    one["reasons"] = why
        return lists

    def similar(self, asked: SimilarRequest) -> Lists:
        """Return the largest kept weights of the rows of the items."""
        return self._named(*self._model.similar_items(alike(asked.items, text=self._text), asked.n))

    def add(self, asked: ItemsRequest) -> list[ItemId]:
        """Refuse: an export has no encoder.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError("an export has no text encoder; serve the workspace to add items by their text.")

    def _alike(self, ids: Sequence[ItemId] | None) -> list[ItemId] | None:
        return None if ids is None else alike(ids, text=self._text)

    def _named(self, items: Array, scores: Array) -> Lists:
        """Return rows of the catalog and their scores with ids and titles, as values that JSON can hold."""
        return [
            [
                {"item_id": self._ids[row], "title": self._titles[row], "score": score}
                for row, score in zip(rows, values, strict=True)
                if row >= 0
            ]
            for rows, values in zip(items.tolist(), scores.tolist(), strict=True)
        ]

    def _rows(self, asked: RecommendRequest) -> sparse.csr_matrix:
        """Return histories as rows of a matrix."""
        model, places, values = self._model, [], []
        for given in weighted(asked, text=self._text):
            if asked.unknown_items == "skip":
                given = {item: given[item] for item in given if model.knows(item)}
            places.append(model.item_rows(list(given)))
            values.append(np.fromiter(given.values(), float, len(given)))
        starts = np.concatenate([[0], np.cumsum([len(one) for one in places])])
        return sparse.csr_matrix(
            (_joined(values), _joined(places).astype(np.int64), starts), (len(places), model.n_items)
        )

    def _reasons(self, row: sparse.csr_matrix, items: Array, most: int) -> list[list[Why]]:
        """Return for each item the largest terms of its score: what the history's items contribute."""
        model = self._model
        terms = sparse.diags_array(row.data) @ model.weights[row.indices][:, items]
        found: list[list[Why]] = []
        for column in terms.toarray().T:
            order = [place for place in np.argsort(-column, kind="stable")[:most] if column[place]]
            found.append([
                {"item_id": self._ids[row.indices[place]], "title": self._titles[row.indices[place]],
                 "total": float(column[place])}
                for place in order
            ])  # fmt: skip
        return found


class WorkspaceAnswers:
    """A fitted model of a workspace: exact scores of all items, known users, and items by their text.

    Parameters
    ----------
    url
        Path or URL of the workspace.
    model
        Name of the model; the current one when None.
    memory_budget
        Bytes that a call may hold.
    """

    quick = False

    def __init__(self, url: str, model: str | None = None, memory_budget: str = "2GiB") -> None:
        try:
            from l3ae_dist.model.fitted import load_model
        except ModuleNotFoundError as error:  # the wheel for serving has exports alone
            raise ConfigError(
                f"{shown(url)} is no export, and serving a workspace needs the whole package "
                f"({error.name} is not installed); name the folder of an export, or "
                "run `pip install l3ae-dist`."
            ) from error

        self._model = load_model(url, model, memory_budget=memory_budget)
        self.name = self._model.label
        dataset = self._model.dataset
        self._text, self._text_users = (
            ids(0, 1).dtype == object for ids in (dataset.item_ids, dataset.user_ids)
        )
        self.version = (self.name, self._model.document.run)

    def about(self) -> About:
        """Return what answers now."""
        model = self._model
        return {
            "model": self.name,
            "member": model.name,
            "params": model.params,
            "certificate": model.certificate,
            "items": model.n_items,
            "source": "workspace",
        }

    def recommend(self, asked: RecommendRequest) -> Lists:
        """Return the lists of the users or histories.

        Raises
        ------
        UnknownIdError
            Naming unknown users or items.
        """
        asked_for = alike(asked.users or [], text=self._text_users)
        known, given = list(dict.fromkeys(asked_for)), self._histories(asked)
        if not known and not given:
            return []
        frame = self._model.recommend(
            known or given, asked.n, filter_already_liked=asked.exclude_seen, filter_items=asked.block,
            items=asked.allow, return_reasons=asked.reasons,
        )  # fmt: skip
        lists: dict[ItemId, list[Entry]] = {user: [] for user in known or given}
        for one in frame.to_dict("records"):
            entry: Entry = {"item_id": one["item_id"], "title": one["title"], "score": one["score"]}
            if asked.reasons:
                entry["reasons"] = [
                    {"item_id": why["item_id"], "title": why["title"], "total": why["total"]}
                    for why in one["reasons"]
                ]
            lists[one["user_id"]].append(entry)
        return [lists[user] for user in asked_for] if known else list(lists.values())

    def similar(self, asked: SimilarRequest) -> Lists:
        """Return the largest weights of the rows of the items."""
        items = alike(asked.items, text=self._text)
        lists: dict[ItemId, list[Entry]] = {item: [] for item in items}
        frame = self._model.similar_items(list(lists), asked.n)
        for one in frame.to_dict("records"):
            lists[one["item_id"]].append(
                {"item_id": one["similar_item_id"], "title": one["title"], "score": one["score"]}
            )
        return [lists[item] for item in items]

    def add(self, asked: ItemsRequest) -> list[ItemId]:
        """Embed items, and make them recommendable.

        Raises
        ------
        ConfigError
            Where the model does not use text, or its encoder is not known.
        """
        texts = {one.item_id: one.text for one in asked.items}
        return list(self._model.add_items(list(texts.values()), ids=list(texts)).tolist())

    def _histories(self, asked: RecommendRequest) -> dict[ItemId, Mapping[ItemId, float]]:
        """Return histories by their position."""
        given = list(weighted(asked, text=self._text))
        if asked.unknown_items == "skip":
            given = [{item: one[item] for item in one if item in self._known} for one in given]
        return dict(enumerate(given))

    @cached_property
    def _known(self) -> frozenset[ItemId]:
        return frozenset(self._model.dataset.item_ids().tolist())


def is_export(target: str) -> bool:
    """Tell whether a path is the folder of an export."""
    return (Path(target) / HEADER).is_file()


def weighted(asked: RecommendRequest, *, text: bool) -> Iterator[Mapping[ItemId, float]]:
    """Yield the weight of each item of each history; an item that is named twice counts once."""
    for place, history in enumerate(asked.histories or []):
        weights = asked.weights[place] if asked.weights else [1.0] * len(history)
        yield dict(zip(alike(history, text=text), weights, strict=True))


def alike(ids: Sequence[ItemId], *, text: bool) -> list[ItemId]:
    """Return ids in the form of a catalog's, where they can be: ``7`` and ``"7"`` are one item.

    >>> alike(["7", "007", 8], text=False), alike(["7", 8], text=True)
    ([7, '007', 8], ['7', '8'])
    """
    if text:
        return [str(one) for one in ids]
    return [int(one) if isinstance(one, str) and _INTEGER.fullmatch(one) else one for one in ids]


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if parts else np.empty(0)
