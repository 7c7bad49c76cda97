"""Identity of a run: its workspace, its data and features in it, and its own id."""

from dataclasses import asdict

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.multi_hot_words import words_id
from l3ae_dist.embed.transform import transformed_id
from l3ae_dist.errors import ConfigError
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.model_search import Specs
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.workspace import Workspace


def open_workspace(config: RunConfig, inputs: Inputs, source: Source | None) -> Workspace:
    """Open the workspace of a run, which only a run with interactions may make.

    Parameters
    ----------
    config, inputs
        What to run, and its sources.
    source
        A dataset in the workspace, instead of ``inputs``.

    Raises
    ------
    ConfigError
        Without interactions and without a workspace, or when options would change its data.
    """
    durable = config.compute.durable
    if inputs.interactions is not None and source is None:
        _dataset_id(config, inputs)  # what cannot be read leaves no workspace behind
        return Workspace.create(config.workspace, durable=durable)
    if open_blobs(config.workspace).get(layout.GROUP_HEADER) is None:
        raise ConfigError(
            f"no interactions are given, and there is no workspace at {config.workspace} to go on with; "
            "set data.interactions to a path or URL, or correct the workspace."
        )
    workspace = Workspace.open(config.workspace, durable=durable)
    if source is None:
        _refuse_other_data(config, inputs, workspace)
    return workspace


def _refuse_other_data(config: RunConfig, inputs: Inputs, workspace: Workspace) -> None:
    """A run without interactions goes on with the workspace's data, and cannot change them."""
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


def _dataset_id(config: RunConfig, inputs: Inputs) -> str:
    from l3ae_dist.data.ingest import dataset_id

    return dataset_id(inputs.interactions, inputs.items, config.data.options)


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
    dataset = _dataset_id(config, inputs) if last is None else last.dataset
    if config.model.uses is None:
        return Source(dataset)
    if config.model.uses == "words":
        return Source(dataset, words_id(dataset, config.words))
    asked = source is None and (inputs.embeddings is not None or "encoder" in config.model_fields_set)
    if last is not None and last.embedding and not asked:
        return last
    from l3ae_dist.embed.imports import import_id
    from l3ae_dist.embed.run import embedding_id

    catalog = _catalog_id(config, inputs) if last is None else Dataset(workspace, dataset).catalog
    if inputs.embeddings is None:
        return Source(dataset, embedding_id(catalog, config.encoder))
    return Source(dataset, import_id(inputs.embeddings, catalog))


def _last_source(workspace: Workspace) -> Source | None:
    document = workspace.read_doc(layout.LAST_RUN)
    return None if document is None else Source.of(document)


def _catalog_id(config: RunConfig, inputs: Inputs) -> str:
    from l3ae_dist.data.ingest import catalog_id

    return catalog_id(inputs.interactions, inputs.items, config.data.options)


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
    parts = {
        "dataset": source.dataset,
        "embedding": source.embedding and transformed_id(source.embedding, config.transform),
        "specs": [asdict(spec) for spec in specs],
        "evaluate": config.evaluate.model_dump(exclude={"beside"}),  # it is in the models
        "compute": [
            *(compute.dtype, compute.tile_size, compute.memory_budget, compute.workers),
            *(compute.semantic_route, compute.keep, compute.device, compute.threads),
        ],
        "until": until,
    }
    return fingerprint(parts)
