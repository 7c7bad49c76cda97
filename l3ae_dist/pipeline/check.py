"""A check of data before a run: everything that the run would read is read, and nothing is stored."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.config.load import checked_config
from l3ae_dist.config.members import LINEAR, MEMBERS
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.swept_models import check_sweep, swept_transforms
from l3ae_dist.data.core import in_core
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import Core, DatasetStats
from l3ae_dist.data.distribution import Distribution, distribution, lengths
from l3ae_dist.data.ingest import ingest
from l3ae_dist.data.intake.objects import with_item_ids
from l3ae_dist.data.intake.open_table import open_table, paths_of
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.data.intake.profile import (
    ColumnProfile,
    TableProfile,
    formats,
    sample_rows,
    value_ranges,
)
from l3ae_dist.data.published_dataset import is_authors_layout
from l3ae_dist.embed.encoder_identity import pinned
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.transform import nothing_to_whiten
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.messages import shown
from l3ae_dist.pipeline.ingest_place import in_this_process
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.planning.data_size import embedding_dim
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.scratch import scratch_folder
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector
from l3ae_dist.storage.workspace import Workspace

_TEXTS = 4096
_CHARACTERS_OF_TOKEN = 4
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and largest of some integers; all are 0 where there is none."""

    least: int = 0
    median: int = 0
    largest: int = 0

    @classmethod
    def of(cls, values: Distribution) -> "Spread":
        """Return the spread of a distribution."""
        if not values.size:
            return cls()
        return cls(int(values.values[0]), values.quantile(0.5), int(values.values[-1]))


@dataclass(frozen=True, slots=True)
class TextProfile:
    """Texts of the items.

    Parameters
    ----------
    characters
        Their lengths.
    empty, duplicates
        How many hold nothing but spaces, and how many others equal one before them.
    limit, over_limit
        Tokens that the encoder reads of a text, and how many texts have more, at four characters a token;
        None where the limit is not known or nothing is embedded.
    """

    characters: Spread
    empty: int
    duplicates: int
    limit: int | None = None
    over_limit: int | None = None


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Profile of the data of a run.

    Parameters
    ----------
    tables
        The interactions and the items, as they were read; none of the published code's pickles.
    dataset
        What the run would store.
    interactions
        Distinct pairs of a user and an item, of all splits.
    density
        Their share of all pairs.
    per_user, per_item
        Interactions of a user and of an item.
    texts, no_text
        The texts of the items; None, and why, where they have none.
    embeddings
        Rows and dimensions of the embeddings; None where none are given.
    seconds
        Time that the check took.
    """

    tables: tuple[TableProfile, ...]
    dataset: DatasetStats
    interactions: int
    density: float
    per_user: Spread
    per_item: Spread
    texts: TextProfile | None
    no_text: str | None
    embeddings: tuple[int, int] | None
    seconds: float

    def document(self) -> dict[str, object]:
        """Return the profile as JSON-like values, the tables by what they are."""
        document = asdict(self) | {"dataset": self.dataset.record()}
        return document | {"tables": {one.what: asdict(one) for one in self.tables}}


def check(
    config: RunConfig, *, interactions: object = None, items: object = None, embeddings: object = None
) -> DataCheck:
    """Read all data of a run, as the run would, and return their profile; nothing is kept.

    Parameters
    ----------
    config
        The run; its sources are used where the arguments are None.
    interactions, items, embeddings
        DataFrames, arrays, paths or URLs.

    Raises
    ------
    ConfigError
        Without interactions, and for an encoder or a core that the run would refuse.
    DataError
        For data that cannot be used, with the sentence that the run would end with.

    Notes
    -----
    The dataset is made in a temporary folder, which takes as much room as in a workspace.
    """
    started = time.perf_counter()
    config = checked_config(config)
    if config.sweep is not None and MEMBERS[config.model.name].title in LINEAR:
        check_sweep(config)
    inputs = Inputs(interactions, items, embeddings).or_configured(config)
    options = config.data.options
    if inputs.interactions is None:
        raise ConfigError("no interactions are given; set data.interactions to a path or URL.")
    with scratch_folder("check") as folder:
        workspace = Workspace.create(str(Path(folder) / "workspace"))
        execution = in_this_process(config.compute)
        name = ingest(inputs.interactions, inputs.items, options, workspace, execution=execution)
        dataset = Dataset(workspace, name)
        stats = _with_core(config, dataset)
        embedded = _check_embeddings(inputs.embeddings, dataset)
        texts = _texts(dataset, _token_limit(config, inputs)) if dataset.has_text else None
        if config.model.uses == "embeddings":
            _check_transform(config, dataset, embedded, texts)
        # with a strong split the known interactions of all users hold the training ones
        splits: list[layout.Split] = ["input" if dataset.stats.foldin else "train", "valid", "test"]
        pairs = sum(dataset.nnz(split) for split in splits)
        return DataCheck(
            tables=tuple(_tables(inputs, options, dataset)),
            dataset=stats,
            interactions=pairs,
            density=pairs / max(dataset.n_users * dataset.n_items, 1),
            per_user=Spread.of(distribution(_per_user(dataset, splits))),
            per_item=Spread.of(distribution(iter([_per_item(dataset, splits)]))),
            texts=texts,
            no_text=None if dataset.has_text else dataset.stats.no_text,
            embeddings=embedded,
            seconds=round(time.perf_counter() - started, 3),
        )


def _with_core(config: RunConfig, dataset: Dataset) -> DatasetStats:
    """Return the counts of a dataset with the core that the run would have; refuse one without items."""
    core = config.data.core
    if core is None:
        return dataset.stats
    items = int(in_core(dataset.popularity(), core.min_interactions).sum())
    found = Core(of=dataset.id, min_interactions=core.min_interactions, items=items)
    return replace(dataset.stats, core=found)


# ---- tables


def _tables(inputs: Inputs, options: IngestConfig, dataset: Dataset) -> Iterator[TableProfile]:
    if is_authors_layout(inputs.interactions, inputs.items):
        return
    yield _interactions(inputs.interactions, options, dataset)
    if inputs.items is not None:
        yield _items(inputs.items, options, dataset)


def _interactions(source: object, options: IngestConfig, dataset: Dataset) -> TableProfile:
    numbers = {
        name: what
        for name, what in ((options.weight_column, "weight"), (options.rating_column, "rating"))
        if name is not None
    }
    if paths_of(source) is None:  # the columns of a matrix are the items
        source = with_item_ids(source, pa.array(dataset.item_ids()))
    table = open_table(source, "interactions", options.text_options(), options.names())
    ranges, times = value_ranges(table, numbers, options.timestamp_column)
    used = [
        _ids(options.user_column, "user id", dataset.user_ids(0, 1)),
        _ids(options.item_column, "item id", dataset.item_ids(0, 1)),
        *(ColumnProfile(name, numbers[name], "number", found.words()) for name, found in ranges.items()),
    ]
    if options.timestamp_column is not None:
        used.append(ColumnProfile(options.timestamp_column, "time", times.kind, times.words()))
    if options.split_column is not None:
        used.append(ColumnProfile(options.split_column, "split", "text"))
    return _profile(source, table, used, dataset)


def _items(source: object, options: IngestConfig, dataset: Dataset) -> TableProfile:
    used = [
        _ids(options.catalog_id_column, "item id", dataset.item_ids(0, 1)),
        ColumnProfile(options.title_column, "title", "text"),
        *(ColumnProfile(name, "text", "text") for name in options.text_columns),
    ]
    table = open_table(source, "items", options.catalog_text_options(), options.catalog_names())
    return _profile(source, table, used, dataset)


def _ids(name: str, used_as: str, first: Array) -> ColumnProfile:
    kind = "text" if first.dtype == object else "integer"
    return ColumnProfile(name, used_as, kind, f"such as {shown(first[0], 40)}" if len(first) else "")


def _profile(source: object, table: Table, used: list[ColumnProfile], dataset: Dataset) -> TableProfile:
    """Describe a table; of the columns that are asked for, those that it has are used."""
    there = tuple(one for one in used if one.name in table.columns)
    names = list(dict.fromkeys(one.name for one in there))
    read = dataset.stats.read.get(table.what, {})
    return TableProfile(
        what=table.what,
        source=str(source) if isinstance(source, (str, Path)) else shown(source),
        files=table.files,
        rows=int(read.get("rows", 0)),
        formats=formats(table),
        columns=table.columns,
        used=there,
        notes=table.notes,
        sample=tuple(sample_rows(table, names)),
    )


# ---- what the run would store


def _per_user(dataset: Dataset, splits: list[layout.Split]) -> Iterator[Integers]:
    """Yield the interactions of users in all splits, block by block."""
    paths = [dataset.paths.by_user(split).indptr for split in splits]
    for blocks in zip(*(lengths(dataset.workspace, path) for path in paths), strict=True):
        yield np.sum(blocks, axis=0, dtype=np.int64)


def _per_item(dataset: Dataset, splits: list[layout.Split]) -> Integers:
    """Count the interactions of items in all splits; indices are read block by block."""
    counts = np.zeros(dataset.n_items, np.int64)
    for split in splits:
        indices = Vector(dataset.workspace, dataset.paths.by_user(split).indices)
        for start in range(0, len(indices), _BLOCK):
            block = indices[start : min(start + _BLOCK, len(indices))]
            counts += np.bincount(block, minlength=dataset.n_items)
    return counts


def _texts(dataset: Dataset, limit: int | None) -> TextProfile:
    sizes = np.empty(dataset.n_items, np.int64)
    digests = np.empty(dataset.n_items, np.uint64)
    empty = 0
    for start in range(0, dataset.n_items, _TEXTS):
        for row, text in enumerate(dataset.texts(start, min(start + _TEXTS, dataset.n_items)), start):
            sizes[row], digests[row] = len(text), _digest(text)
            empty += not text.strip()
    distinct = len(np.unique(digests[sizes > 0]))
    return TextProfile(
        characters=Spread.of(distribution(iter([sizes]))),
        empty=empty,
        duplicates=int((sizes > 0).sum()) - distinct,
        limit=limit,
        over_limit=None if limit is None else int((sizes > limit * _CHARACTERS_OF_TOKEN).sum()),
    )


def _digest(text: str) -> int:
    return int(fingerprint(text)[:16], 16)


def _token_limit(config: RunConfig, inputs: Inputs) -> int | None:
    """Return the tokens that the encoder reads of a text; None where none is used or its model tells.

    Raises
    ------
    ConfigError
        For an encoder of the hub whose commit is not known, as the run raises it.
    """
    if config.model.uses != "embeddings" or inputs.embeddings is not None:
        return None
    return pinned(config.encoder).max_length


def _check_embeddings(source: object, dataset: Dataset) -> tuple[int, int] | None:
    """Read embeddings as a run does, and return their rows and dimensions; None for none."""
    if source is None:
        return None
    identifier = import_id(source, dataset.catalog)
    import_embeddings(source, dataset, identifier)
    stats: Mapping[str, int] = dataset.workspace.require_stage(Stage.EMBED, identifier).stats
    return int(stats["rows"]), int(stats["dim"])


def _check_transform(
    config: RunConfig, dataset: Dataset, embedded: tuple[int, int] | None, texts: TextProfile | None
) -> None:
    """Raise :class:`ConfigError` for a transformation that a run would refuse, as far as that is known."""
    dim = embedding_dim(config, None if embedded is None else embedded[1])
    transforms = (config.transform, *swept_transforms(config).values())
    if dim is not None:
        for one in transforms:
            one.columns(dim, dataset.n_items)
    if config.transform.whiten and texts is not None and texts.empty == dataset.n_items:
        raise nothing_to_whiten(config.transform)
