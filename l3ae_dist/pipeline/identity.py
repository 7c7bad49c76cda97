"""Identity of a run: its workspace, its data and features in it, and its own id."""

from collections.abc import Iterable

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.extras import require
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.core import core_id
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.multi_hot_words import words_id
from l3ae_dist.embed.stored_transform import transformed_id
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.model_search import Specs
from l3ae_dist.planning.data_size import embedding_dim
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.headers import is_workspace
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.scratch import sweep_scratch
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def require_items(config: RunConfig, inputs: Inputs) -> None:
    """Raise :class:`DataError` before anything is read where the model needs texts and there can be none."""
    from l3ae_dist.data.catalog import NO_ITEMS
    from l3ae_dist.data.published_dataset import is_authors_layout

    given = inputs.embeddings is not None and config.model.uses == "embeddings"
    if config.model.uses is None or given or inputs.interactions is None or inputs.items is not None:
        return
    if not is_authors_layout(inputs.interactions, inputs.items):
        raise DataError(
            f"{NO_ITEMS}; the model {config.model.name} needs the texts of the items: give items "
            "(data.items), a table with a row for each item, or embeddings."
        )


def require_engines(config: RunConfig) -> None:
    """Refuse a run on Ray or a GPU without the packages for it, before a workspace is made."""
    if config.compute.cluster == "ray":
        require("ray", "compute.cluster: ray")
    if config.compute.device == "cuda":
        require("gpu", "compute.device: cuda")


def require_packages(config: RunConfig, inputs: Inputs, workspace: Workspace, wanted: Source) -> None:
    """Refuse a run whose encoder is not installed, before it starts anything.

    Parameters
    ----------
    config, inputs
        What to run, and its sources.
    workspace, wanted
        Where its data are or will be, and which; features that are made already need no package.
    """
    given = inputs.embeddings is not None or wanted.embedding is None or config.model.uses != "embeddings"
    if not given and workspace.stage_held(Stage.EMBED, str(wanted.embedding)) is None:
        require("embed", "embedding item texts")


def open_workspace(config: RunConfig, inputs: Inputs, source: Source | None) -> Workspace:
    """Open the workspace of a run, which only a run with interactions may make; temporary folders are swept.

    Parameters
    ----------
    config, inputs
        What to run, and its sources.
    source
        A dataset in the workspace, instead of ``inputs``.

    Raises
    ------
    ConfigError
        Without interactions and without a workspace.
    """
    sweep_scratch()
    durable = config.compute.durable
    if inputs.interactions is not None and source is None:
        _dataset_id(config, inputs, None)  # what cannot be read leaves no workspace behind
        return Workspace.create(config.workspace, durable=durable)
    if not is_workspace(open_blobs(config.workspace)):
        raise ConfigError(
            f"no interactions are given, and there is no workspace at {config.workspace} to go on with; "
            "set data.interactions to a path or URL, or correct the workspace."
        )
    return Workspace.create(config.workspace, durable=durable)  # writes a damaged header again


def refuse_other_data(config: RunConfig, inputs: Inputs, workspace: Workspace) -> None:
    """Refuse a run without interactions that would change the data of the workspace.

    Parameters
    ----------
    config, inputs
        What to run, and its sources.
    workspace
        That of the run.

    Raises
    ------
    ConfigError
        Naming what would change, or when no run has left data.
    """
    if inputs.interactions is not None:
        return
    last = workspace.read_doc(layout.LAST_RUN)
    if last is None:
        raise ConfigError("no interactions are given; set data.interactions to a path or URL.")
    options = config.data.options.model_dump(mode="json", exclude_unset=True)
    recorded = Dataset(workspace, last["dataset"]).options
    changed = [f"data.options.{name}" for name, value in options.items() if recorded.get(name) != value]
    if inputs.items is not None:
        changed.append("data.items")
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} would change the data of {workspace.url}, but data.interactions is not "
            "given; give all of the data, or none to go on with those of the workspace."
        )


def refuse_few_dimensions(
    config: RunConfig,
    source: Source,
    dataset: Dataset,
    embeddings: object,
    transforms: Iterable[TransformConfig],
) -> None:
    """Refuse transformations that an encoder has too few dimensions for, before it embeds any text.

    Parameters
    ----------
    config
        Names the encoder.
    source, dataset
        Id of the features, which are not made again where they are there, and the items.
    embeddings
        What is given instead of texts; None for an encoder.
    transforms
        The transformations; one that a model keeps is not checked.

    Raises
    ------
    ConfigError
        With the dimensions.
    """
    if embeddings is not None:
        return
    made = source.embedding is None or dataset.workspace.stage_held(Stage.EMBED, source.embedding)
    dim = embedding_dim(config, None)
    if config.model.uses != "embeddings" or source.transform is not None or made or dim is None:
        return
    for one in transforms:
        one.columns(dim, dataset.n_items)


def _dataset_id(config: RunConfig, inputs: Inputs, workspace: Workspace | None) -> str:
    """Name the data of the sources, without the users whom the workspace forgot."""
    from l3ae_dist.data.ingest import dataset_id

    without = "" if workspace is None else Forgotten.read(workspace).name
    return dataset_id(inputs.interactions, inputs.items, config.data.options, without)


def identify(config: RunConfig, inputs: Inputs, workspace: Workspace, source: Source | None) -> Source:
    """Name the dataset and the item features of a run, as they are or will be in the workspace.

    Parameters
    ----------
    config, inputs
        What to run, and its sources.
    workspace, source
        Where the data of the last run are, and which of them are meant instead of ``inputs``.
    """
    last = source or (_last_source(workspace) if inputs.interactions is None else None)
    dataset = _dataset_id(config, inputs, workspace) if last is None else last.dataset
    if config.model.uses is None:
        return Source(dataset)
    if config.model.uses == "words":
        return Source(dataset, words_id(dataset, config.words))
    asked = source is None and (inputs.embeddings is not None or "encoder" in config.model_fields_set)
    if last is not None and last.embedding and not asked:
        return last
    from l3ae_dist.embed.imports import import_id
    from l3ae_dist.embed.run import embedding_id

    catalog = _catalog_id(config, inputs, workspace, dataset)
    if inputs.embeddings is None:
        return Source(dataset, embedding_id(catalog, config.encoder))
    return Source(dataset, import_id(inputs.embeddings, catalog))


def _last_source(workspace: Workspace) -> Source | None:
    document = workspace.read_doc(layout.LAST_RUN)
    return None if document is None else Source.of(document)


def _catalog_id(config: RunConfig, inputs: Inputs, workspace: Workspace, dataset: str) -> str:
    """Name the catalog by its content, which the stored dataset tells, or else the items, that are read."""
    from l3ae_dist.data.catalog import content_id, read_catalog

    if workspace.stage_done(Stage.INGEST, dataset) is not None:
        return Dataset(workspace, dataset).catalog
    if inputs.items is None:
        return dataset
    return content_id(read_catalog(inputs.items, config.data.options))


def fitted_dataset(config: RunConfig, source: Source) -> str:
    """Return the id of the dataset that a run fits: the one with its core first, where there is a core."""
    core = config.data.core
    return source.dataset if core is None else core_id(source.dataset, core.min_interactions)


def run_identifier(config: RunConfig, source: Source, until: str | None, specs: Specs) -> str:
    """Name a run by everything that its result depends on.

    Parameters
    ----------
    config
        What to run.
    source
        The data.
    until, specs
        Last stage, and the models that are tried.
    """
    compute = config.compute
    parts: dict[str, object] = {
        "dataset": source.dataset,
        "embedding": source.embedding
        and transformed_id(source.embedding, config.transform, source.transform),
        "specs": [spec.document() for spec in specs],
        "evaluate": config.evaluate.model_dump(exclude={"beside"}),  # it is in the models
        "compute": [
            *(compute.dtype, compute.tile_size, compute.memory_budget, compute.workers),
            *(compute.semantic_route, compute.keep, compute.device, compute.threads, compute.arithmetic),
        ],
        "until": until,
    }
    if until == "sweep" and config.sweep is not None and config.sweep.early_stopping:
        parts["early_stopping"] = True
    core = config.data.core
    return fingerprint(parts if core is None else {**parts, "core": core.min_interactions})
