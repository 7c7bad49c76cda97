"""The price of a run with each core: flops, bytes and time by the interactions that an item of it has."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from l3ae_dist.config.data import CoreConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.planning.data_size import dataset_size
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.smallest_change import plan_with

_TRIED = (1, 2, 3, 5, 10, 20, 50)


@dataclass(frozen=True, slots=True)
class CorePrice:
    """The price of one core; the last three are None where the plan does not fit the memory budget.

    Parameters
    ----------
    min_interactions
        Training interactions that an item of the core has at least; None for no core.
    items
        Items of the core.
    interactions
        Share of the training interactions that are with them.
    flops, bytes, seconds
        Of all stages, and the workspace at its fullest; times are estimates.
    """

    min_interactions: int | None
    items: int
    interactions: float
    flops: float | None = None
    bytes: int | None = None
    seconds: float | None = None

    def document(self) -> dict[str, object]:
        """Return the price as JSON-like values."""
        return asdict(self)


def core_prices(
    config: RunConfig, dataset: Dataset, known: DataSize, resources: Resources
) -> tuple[CorePrice, ...]:
    """Estimate what a run takes without a core, with the configured one, and with a handful of others.

    Parameters
    ----------
    config
        The run.
    dataset
        All of its items, whose counts tell the sizes of the cores.
    known
        Of it or of its core, for the columns of its features and what is known of it.
    resources
        Rates of the workers.
    """
    popularity = np.sort(dataset.popularity())
    own = config.data.core
    tried = sorted({*_TRIED, *([] if own is None else [own.min_interactions])})
    sizes = {fewest: len(popularity) - int(np.searchsorted(popularity, fewest)) for fewest in tried}
    wanted = [fewest for fewest in tried if sizes[fewest]]
    return tuple(_price(config, dataset, known, resources, fewest) for fewest in (None, *wanted))


def _price(
    config: RunConfig, dataset: Dataset, known: DataSize, resources: Resources, fewest: int | None
) -> CorePrice:
    core = None if fewest is None else CoreConfig(min_interactions=fewest)
    config = config.model_copy(update={"data": config.data.model_copy(update={"core": core})})
    size = dataset_size(dataset, known.dim, fewest or 0)
    size = replace(size, raw_dim=known.raw_dim, dtype=known.dtype, ready=known.ready)
    found = CorePrice(fewest, size.items, size.interactions / dataset.nnz("train"))
    if plan_with(config, size, {}, counted=False) is None:
        return found
    expected = forecast(config, size, replace(resources, disk_bytes=None))
    flops = float(sum(stage.flops for stage in expected.stages))
    return replace(found, flops=flops, bytes=expected.storage_bytes, seconds=expected.seconds)
