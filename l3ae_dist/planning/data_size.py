"""Size of the data of a plan: of an ingested dataset, or given numbers."""

from functools import cache

import numpy as np

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.core import in_core
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.imports import dimensions_of
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.planning.plan_inputs import DataSize

# Beyond this many score operations a seeded sample of users is evaluated.
_ALL_USERS_LIMIT = 1e12

_SAMPLE = 100_000

# Columns that the presets' encoders give.
DIMENSIONS = {"minilm": 384, "nv-embed-v2": 4096, "llama-3.2-3b": 3072, "qwen3-embedding-8b": 4096}


def dataset_size(dataset: Dataset, dim: int, min_interactions: int = 0) -> DataSize:
    """Return the size of an ingested dataset, or of the core that it would have.

    Parameters
    ----------
    dataset
        The dataset, or the core of one.
    dim
        Columns of its features.
    min_interactions
        Training interactions that an item of the core has at least; 0 for no core.

    Raises
    ------
    ConfigError
        When no item has so many.
    """

    @cache  # several tiles may be tried
    def popularity() -> Array:
        counts = dataset.popularity()
        return counts[in_core(counts, min_interactions)] if min_interactions else counts

    items = len(popularity()) if min_interactions else dataset.n_items
    interactions = int(popularity().sum()) if min_interactions else dataset.nnz("train")

    def widest(tile: int) -> int:
        return int(np.add.reduceat(popularity(), np.arange(0, items, tile)).max())

    def pairs() -> float:
        activity = dataset.activity()
        return float(np.dot(activity, activity))

    itemsize = int(np.dtype(exact_dtype(dataset.max_count(), dataset.weighted)).itemsize)
    tail = dataset.stats.n_items - items
    return DataSize(items, dataset.n_users, interactions, dim, itemsize, widest, pairs, tail=tail)


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
        Columns of the item features before a transformation.

    Raises
    ------
    ConfigError
        When a number is missing, there are more interactions than pairs, or a core is configured.
    """
    if items is None and users is None and interactions is None:
        return None
    if config.data.core is not None:
        raise ConfigError(
            "how many items are in data.core is known from the data alone; ingest them first with "
            "`l3ae-dist embed CONFIG` and leave --items out, or set data.core=null and give the numbers of "
            "the core."
        )
    if items is None or users is None or interactions is None:
        raise ConfigError("--items, --users and --interactions go together; give all three or none.")
    if interactions > items * users:
        raise ConfigError(
            f"--interactions is {interactions:,}, but {users:,} users and {items:,} items make only "
            f"{items * users:,} pairs; correct one of the three."
        )

    weighted = config.data.options.weight_column is not None
    itemsize = int(np.dtype(exact_dtype(users, weighted)).itemsize)
    columns, raw = feature_dim(config, dim, items), raw_dim(config, dim)
    return DataSize(items, users, interactions, columns, itemsize, raw_dim=raw)


def feature_dim(config: RunConfig, dim: int | None, items: int | None = None) -> int:
    """Return the columns of the item features after the configured transformation, 0 for a model without.

    Parameters
    ----------
    config
        The run.
    dim
        Columns before the transformation; those of the encoder when None.
    items
        Items of the catalog, where they are known.

    Raises
    ------
    ConfigError
        When neither ``dim`` nor the encoder tells, or fewer are there than the transformation keeps.
    """
    if config.model.uses is None:
        return 0
    transform: TransformConfig = config.transform
    given = embedding_dim(config, dim)
    if given is None and transform.compress != "none":
        return transform.dim
    if given is None and transform.truncate_dim is not None:
        return transform.truncate_dim
    if given is None:
        raise ConfigError(
            f"the columns of the item {config.model.uses} are not known before they are there; give --dim."
        )
    return transform.columns(given, items) if config.model.uses == "embeddings" else given


def raw_dim(config: RunConfig, dim: int | None) -> int | None:
    """Return the columns of the embeddings before a transformation; None without one, or unknown.

    Parameters
    ----------
    config
        The run.
    dim
        Columns that are given; those of the encoder when None.
    """
    return (
        embedding_dim(config, dim) if config.transform.active and config.model.uses == "embeddings" else None
    )


def embedding_dim(config: RunConfig, dim: int | None) -> int | None:
    """Return the columns of the item features before a transformation; None where they are not known.

    Embeddings that are given tell them by the header of their file.

    Parameters
    ----------
    config
        The run.
    dim
        Columns that are given; those of the encoder when None.
    """
    if dim is not None or config.model.uses == "words":
        return dim
    if config.data.embeddings is not None:
        return dimensions_of(config.data.embeddings, config.data.options)
    return config.encoder.truncate_dim or DIMENSIONS.get(config.encoder.model.lower())


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
