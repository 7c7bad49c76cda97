"""Size of the data of a plan: of an ingested dataset, or given numbers."""

from functools import cache

import numpy as np

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import dataset_id
from l3ae_dist.errors import ConfigError, StageMissingError, WorkspaceError
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

# Beyond this many score operations a seeded sample of users is evaluated.
_ALL_USERS_LIMIT = 1e12

_SAMPLE = 100_000

# Columns that the presets' encoders give.
DIMENSIONS = {"minilm": 384, "nv-embed-v2": 4096, "llama-3.2-3b": 3072, "qwen3-embedding-8b": 4096}


def dataset_size(dataset: Dataset, dim: int) -> DataSize:
    """Return the size of an ingested dataset with features of ``dim`` columns."""
    popularity = cache(dataset.popularity)  # several tiles may be tried

    def widest(tile: int) -> int:
        return int(np.add.reduceat(popularity(), np.arange(0, dataset.n_items, tile)).max())

    def pairs() -> float:
        activity = dataset.activity()
        return float(np.dot(activity, activity))

    itemsize = int(np.dtype(exact_dtype(dataset.max_count(), dataset.weighted)).itemsize)
    return DataSize(dataset.n_items, dataset.n_users, dataset.nnz("train"), dim, itemsize, widest, pairs)


def given_size(
    config: RunConfig, items: int | None, users: int | None, interactions: int | None, dim: int | None
) -> DataSize | None:
    """Return the size of data that is not there yet; None when no number of it is given.

    Parameters
    ----------
    config
        Tells whether interactions are weighted, and the columns of the features where ``dim`` is None.
    items, users, interactions
        Of the training matrix; all three or none.
    dim
        Columns of the item features.

    Raises
    ------
    ConfigError
        When a number is missing, or there are more interactions than pairs.
    """
    if items is None and users is None and interactions is None:
        return None
    if items is None or users is None or interactions is None:
        raise ConfigError("--items, --users and --interactions go together; give all three or none.")
    if interactions > items * users:
        raise ConfigError(
            f"--interactions is {interactions:,}, but {users:,} users and {items:,} items make only "
            f"{items * users:,} pairs; correct one of the three."
        )

    weighted = config.data.options.weight_column is not None
    itemsize = int(np.dtype(exact_dtype(users, weighted)).itemsize)
    return DataSize(items, users, interactions, feature_dim(config, dim), itemsize)


def ingested_size(config: RunConfig, dim: int | None) -> DataSize:
    """Return the size of the dataset in the workspace: that of the configured sources, else the last run's.

    Raises
    ------
    ConfigError
        When it was not ingested yet.
    """
    try:
        workspace = Workspace.open(config.workspace)
        if config.data.interactions is not None:
            identifier = dataset_id(config.data.interactions, config.data.items, config.data.options)
        else:
            last = workspace.read_doc(layout.LAST_RUN)
            if last is None:
                raise StageMissingError(f"{config.workspace} holds no dataset.")
            identifier = str(last["dataset"])
        dataset = Dataset(workspace, identifier)
    except WorkspaceError as error:
        raise ConfigError(
            f"the size of the data is not known ({str(error).rstrip('.')}); give --items, --users and "
            "--interactions, or ingest it first with `l3ae-dist embed CONFIG`."
        ) from error
    return dataset_size(dataset, feature_dim(config, dim))


def feature_dim(config: RunConfig, dim: int | None) -> int:
    """Return the columns of the item features after the configured transformation, 0 for a model without.

    Raises
    ------
    ConfigError
        When neither ``dim`` nor the encoder tells.
    """
    if config.model.uses is None:
        return 0
    own = config.encoder.truncate_dim or DIMENSIONS.get(config.encoder.model.lower())
    transform: TransformConfig = config.transform
    if config.model.uses == "embeddings" and transform.compress != "none":
        return transform.dim
    if dim is None and (own is None or config.model.uses == "words" or config.data.embeddings is not None):
        raise ConfigError(
            f"the columns of the item {config.model.uses} are not known before they are there; give --dim."
        )
    return dim or own or 0


def evaluated_count(interactions: int, items: int, users: int, max_users: int | None) -> int:
    """Count the users that are evaluated: all, or a sample where all would cost too much.

    Parameters
    ----------
    interactions, items, users
        Of the training matrix.
    max_users
        Size of the sample where the configuration gives one.

    >>> evaluated_count(10**6, 10**4, 5000, None), evaluated_count(10**8, 10**5, 10**6, None)
    (5000, 100000)
    """
    if max_users is None and interactions * float(items) >= _ALL_USERS_LIMIT:
        max_users = _SAMPLE
    return users if max_users is None else min(max_users, users)
