"""The data of a run with a core: the dataset and its features once more, the core first."""

from l3ae_dist.config.data import CoreConfig, WordsConfig
from l3ae_dist.data.core import core_first
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_summary import core_sentence
from l3ae_dist.data.multi_hot_words import make_words
from l3ae_dist.embed.core_order import order_embeddings
from l3ae_dist.errors import ConfigError
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage


def with_core(dataset: Dataset, configured: CoreConfig | None, on_event: OnEvent) -> Dataset:
    """Return a dataset with its core first, where a core is configured.

    Parameters
    ----------
    dataset
        The ingested one; in the copy of a model it has its core first already.
    configured
        Which items are in the core; None for no core.
    on_event
        Told how many items are in the core.

    Raises
    ------
    ConfigError
        When no item is in the core, or the dataset has another one.
    """
    there = dataset.stats.core
    if configured is None:
        return dataset
    if there is not None and there.min_interactions != configured.min_interactions:
        raise ConfigError(
            f"data.core.min_interactions is {configured.min_interactions:,}, and the data of this workspace "
            f"are those of a saved model with {there.min_interactions:,}; give data.interactions."
        )
    found = dataset if there is not None else core_first(dataset, configured.min_interactions)
    on_event(Message(stage=Stage.INGEST, message=core_sentence(found.stats)))
    return found


def ordered_features(
    features: str | None, given: Dataset, dataset: Dataset, words: WordsConfig
) -> str | None:
    """Return the features of a dataset in the order of its items, made from those of the ingested one.

    Parameters
    ----------
    features
        Id of the features of the ingested dataset; None without text.
    given, dataset
        The ingested dataset, and the one that is fitted.
    words
        How texts are cut into words.
    """
    if features is None or dataset.id == given.id:
        return features
    if layout.are_words(features):
        return make_words(dataset, words, dataset.workspace)
    return order_embeddings(features, dataset)
