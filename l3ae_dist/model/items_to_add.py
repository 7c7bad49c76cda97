"""Items that a user adds after the fit: their ids, titles and texts, checked against the catalog."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.catalog import id_values, read_catalog, same_kind
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.items_table import is_like_a_path, table_of_texts
from l3ae_dist.data.tables import Id, Items
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown
from l3ae_dist.model.added_items import AddedItems


@dataclass(frozen=True, slots=True)
class NewItems:
    """Items to add, as they are given.

    Parameters
    ----------
    items
        A table with the columns of the fit's items, texts by id, or a list of texts (of ids, beside vectors
        alone).
    ids
        Of the texts; None for ids that are numbered.
    vectors
        (m, d) embeddings; None for items that are embedded.
    """

    items: "Items | Sequence[str] | Sequence[Id]"
    ids: Sequence[Id] | None
    vectors: Array | None

    def named(self, dataset: Dataset, before: AddedItems) -> tuple[Array, Array, list[str] | None]:
        """Return ids, titles and (unless vectors are given) texts.

        Raises
        ------
        DataError
            For ids that the catalog has, ids twice, an id that is no integer where the catalog's are, or
            items without text.
        """
        options, table = IngestConfig(**dataset.options), cast(object, self.items)
        if isinstance(table, list | tuple | np.ndarray):
            options = _list_options(options)
            table = self._table(list(table), options, dataset, before)
        elif self.ids is not None:
            raise DataError(
                f"ids are given beside a {type(table).__name__}, which has ids of its own "
                f"({options.catalog_id_column}); give one of the two."
            )
        elif isinstance(table, str) and not is_like_a_path(table):
            raise DataError(
                f"the items are the single text {shown(table)}; give a list of texts: [{shown(table)}]."
            )
        found = read_catalog(table, options)
        texts = found.texts.to_pylist()
        self._check_texts(texts, id_values(found.ids), options)
        named = id_values(same_kind(found.ids, dataset.item_ids(0, 1), "the new items"))
        clash = named[dataset.find_items(named.tolist()) >= 0]
        if len(clash):
            raise DataError(
                f"{len(clash)} id(s) are in the catalog already: [{listed(clash[:5])}]; choose other ids."
            )
        titles = np.array([t or x for t, x in zip(found.titles.to_pylist(), texts, strict=True)], object)
        return named, titles, None if self.vectors is not None else texts

    def _table(
        self, values: list[object], options: IngestConfig, dataset: Dataset, before: AddedItems
    ) -> object:
        """The list as a table of ids and texts."""
        ids: Sequence[object] | None = self.ids
        if ids is None and self.vectors is None:
            ids = _numbered(dataset.item_ids(), before.ids, len(values))
        elif ids is None:
            ids, values = values, [str(value) for value in values]
        if len(ids) != len(values):
            raise DataError(f"{len(values)} texts come with {len(ids)} ids; give one id for each text.")
        return table_of_texts(ids, values, options)

    def _check_texts(self, texts: list[str], ids: Array, options: IngestConfig) -> None:
        """Raise :class:`DataError` for items without text, or vectors that are not one for each."""
        if self.vectors is not None:
            if len(self.vectors) != len(texts):
                raise DataError(
                    f"{len(self.vectors)} embeddings come with {len(texts)} items; give one for each."
                )
            return
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        if empty:
            raise DataError(
                f"{len(empty)} item(s) have no text in {', '.join(options.text_columns)}, first "
                f"[{listed(ids[empty[:5]])}]; give a text or embeddings=."
            )


def _list_options(options: IngestConfig) -> IngestConfig:
    """The ingest options with one column of text, which is the title too."""
    text = options.text_columns[0] if options.text_columns else "text"
    return options.model_copy(update={"text_columns": (text,), "title_column": text})


def _numbered(catalog: Array, added: Array, count: int) -> Sequence[Id]:
    """Ids for texts that come without: the next integers, or ``added-0`` and so on."""
    if catalog.dtype != object:
        first = int(max(catalog.max(initial=-1), added.max(initial=-1) if len(added) else -1)) + 1
        return list(range(first, first + count))
    taken = {*catalog.tolist(), *added.tolist()}
    names = (f"added-{i}" for i in range(len(taken) + count + 1))
    return [name for name in names if name not in taken][:count]
