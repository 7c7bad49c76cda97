"""Knowledge of a run before it is started, from its workspace and files: data, features, precision."""

import math
from dataclasses import replace

from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.ingest import dataset_id
from l3ae_dist.data.linear_systems import spectrum_key, systems_of
from l3ae_dist.data.multi_hot_words import words_id
from l3ae_dist.embed.imports import import_id
from l3ae_dist.embed.run import embedding_id
from l3ae_dist.embed.stored_transform import transformed_id
from l3ae_dist.errors import ConfigError, DataError, NumericalError, WorkspaceError
from l3ae_dist.messages import shown
from l3ae_dist.planning.data_size import dataset_size, feature_dim, raw_dim
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import chosen_dtype, semantic_route
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_CHANGED = (
    "data: the configured sources are not what the workspace ingested last; the sizes are of what it "
    "ingested, and a run reads the sources again"
)
# Interactions, and numbers of embeddings, up to which a plan computes what decides the precision: seconds.
_QUICK, _QUICK_ENTRIES = 20_000_000, 50_000_000


def ingested_size(config: RunConfig, dim: int | None) -> DataSize:
    """Return the size of the dataset in the workspace: that of the configured sources, else the last run's.

    Parameters
    ----------
    config, dim
        As :func:`known_size` takes them.

    Raises
    ------
    ConfigError
        As :func:`known_size`, and when the data were not ingested yet.
    """
    return known_size(config, ingested_dataset(config), dim)


def known_size(config: RunConfig, dataset: Dataset, dim: int | None) -> DataSize:
    """Return the size of an ingested dataset, or of the core that is configured.

    What else is known of the data is in it too: which stages are complete, and, without a core, the
    precision that a run chooses.

    Parameters
    ----------
    config, dataset
        The run, and its data before a core is drawn from them.
    dim
        Columns of the item features before a transformation; those in the workspace, in the header of the
        given file, or of the encoder when None.

    Raises
    ------
    ConfigError
        When no item is in the core, or nothing tells the columns of the features.
    """
    core = config.data.core
    features = made_features(config, dataset)
    if dim is None and features is not None:
        dim = _shape(dataset, features)[1]
    size = dataset_size(
        dataset,
        feature_dim(config, dim, dataset.n_items),
        0 if core is None else core.min_interactions,
    )
    ready = (Stage.INGEST, Stage.EMBED) if features is not None else (Stage.INGEST,)
    changed = dataset.id != _wanted_id(config, dataset.workspace)
    return replace(
        size,
        raw_dim=raw_dim(config, dim),
        dtype=None if core is not None else _precision(config, dataset, features),
        ready=() if changed else ready,
        remarks=(_CHANGED,) if changed else (),
    )


def ingested_dataset(config: RunConfig) -> Dataset:
    """Open the dataset in the workspace: that of the configured sources, else the last run's.

    Raises
    ------
    ConfigError
        When none was ingested yet.
    """
    try:
        workspace = Workspace.open(config.workspace)
        wanted = _wanted_id(config, workspace)
        if wanted is not None and workspace.stage_done(Stage.INGEST, wanted) is not None:
            return Dataset(workspace, wanted)
        last = workspace.read_doc(layout.LAST_RUN)
        if last is not None:
            return Dataset(workspace, str(last["dataset"]))
        reason = f"{shown(config.workspace)} holds no dataset yet"
    except WorkspaceError as error:
        reason = str(error).rstrip(".")
    raise ConfigError(
        f"the size of the data is not known ({reason}); give --items, --users and --interactions, or ingest "
        "it first with `l3ae-dist embed CONFIG`."
    )


def _wanted_id(config: RunConfig, workspace: Workspace) -> str | None:
    """Name the dataset of the configured sources; that of the last run without any."""
    if config.data.interactions is None:
        last = workspace.read_doc(layout.LAST_RUN)
        return None if last is None else str(last["dataset"])
    without = Forgotten.read(workspace).name
    return dataset_id(config.data.interactions, config.data.items, config.data.options, without)


def made_features(config: RunConfig, dataset: Dataset) -> str | None:
    """Return the id of the item features that a run goes on with; None where it makes them, or needs none.

    Parameters
    ----------
    config, dataset
        The run, and its data before a core is drawn from them.
    """
    uses, workspace = config.model.uses, dataset.workspace
    if uses is None:
        return None
    if uses == "words":
        found = words_id(dataset.id, config.words)
    elif config.data.embeddings is not None:
        try:
            found = import_id(config.data.embeddings, dataset.catalog)
        except DataError:  # they are not on this machine
            return None
    else:
        last = workspace.read_doc(layout.LAST_RUN) or {}
        asked = config.data.interactions is not None or "encoder" in config.model_fields_set
        kept = None if asked or last.get("dataset") != dataset.id else last.get("embedding")
        found = str(kept or embedding_id(dataset.catalog, config.encoder))
    return found if workspace.stage_held(Stage.EMBED, found) is not None else None


def _precision(config: RunConfig, dataset: Dataset, features: str | None) -> str | None:
    """Return the dtype of tiles that a run on these data chooses; None where that is not known yet.

    Parameters
    ----------
    config, dataset, features
        The run, its data, and its item features where they are there.
    """
    if config.compute.dtype != "auto":
        return None
    workspace, used = dataset.workspace, features
    if features is not None and config.model.uses == "embeddings" and config.transform.active:
        used = transformed_id(features, config.transform)
        if workspace.stage_held(Stage.EMBED, used) is None:
            used = None
    if config.model.uses is not None and used is None:
        return None
    shape = None if used is None else _shape(dataset, used)
    route = semantic_route(config, shape)
    specs = evaluated_models(config)
    systems = {system for spec in specs for _, system in systems_of(spec, used, route)}
    known = all(workspace.read_doc(spectrum_key(dataset, one)) is not None for one in systems)
    if (not known and dataset.nnz("train") > _QUICK) or (
        shape is not None and math.prod(shape) > _QUICK_ENTRIES
    ):
        return None
    try:
        return chosen_dtype(config.compute, dataset, used, specs, route, keep=False)[0]
    except (NumericalError, DataError, WorkspaceError):  # the run itself says what is wrong with these data
        return None


def _shape(dataset: Dataset, features: str) -> tuple[int, ...]:
    return open_rows(dataset.workspace, layout.features(features)).shape
