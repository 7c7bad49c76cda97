"""The estimate of the transformation of embeddings, which runs in the client, row block by row block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.swept_models import swept_transforms
from l3ae_dist.embed.transform import BLOCK_ENTRIES
from l3ae_dist.planning.estimate import StageForecast
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import Rates
from l3ae_dist.storage.stages import Stage

# Flops of the eigenvectors of a d x d matrix, in units of d^3, and its float64 arrays beside each other.
_EIGEN_FLOPS, _MATRICES = 10.0, 5
# Bytes of an entry of a block: as it is read, as float64, and two images of it.
_ENTRY_BYTES = 4 + 3 * 8


@dataclass(frozen=True, slots=True)
class PlannedTransform:
    """A transformation that the commands on a configuration make, and the sizes before and after it."""

    options: TransformConfig
    size: DataSize

    @property
    def bytes(self) -> int:
        """Bytes of the transformed embeddings, float64."""
        return 8 * self.size.catalog * self.size.dim


def planned_transforms(config: RunConfig, size: DataSize) -> tuple[PlannedTransform, ...]:
    """List the transformation of a configuration, and those beside it that its sweep tries.

    Parameters
    ----------
    config
        The run.
    size
        Of its data, with the columns after the transformation of the configuration.

    Raises
    ------
    ConfigError
        For a transformation that the embeddings have too few dimensions for.
    """
    if config.model.uses != "embeddings":
        return ()
    swept = swept_transforms(config)
    wanted = {str(one.record()): one for one in (config.transform, *swept.values()) if one.active}
    known = size.raw_dim is not None or not config.transform.active
    raw = size.raw_dim or size.dim
    return tuple(
        PlannedTransform(one, replace(size, raw_dim=raw, dim=_columns(one, raw, size.catalog, known=known)))
        for one in wanted.values()
    )


def _columns(options: TransformConfig, raw: int, items: int, *, known: bool) -> int:
    """Return the dimensions after a transformation, checked where those before it are known."""
    if known:
        return options.columns(raw, items)
    return options.dim if options.compress != "none" else options.truncate_dim or raw


def transform_stage(transforms: Sequence[PlannedTransform], plan: Plan, rates: Rates) -> StageForecast:
    """Estimate transformations of embeddings, at least one, one after the other as one stage.

    Parameters
    ----------
    transforms
        The transformations.
    plan
        Of the run.
    rates
        Of a worker, which the client is taken to have too.
    """
    found = [_one_stage(one.options, plan, one.size, rates) for one in transforms]
    parts = {name: sum(one.parts[name] for one in found) for name in found[0].parts}
    bound = max(parts, key=lambda part: parts[part])
    return replace(
        found[0],
        tasks=sum(one.tasks for one in found),
        flops=sum(one.flops for one in found),
        bytes_read=sum(one.bytes_read for one in found),
        bytes_written=sum(one.bytes_written for one in found),
        peak_bytes=max(one.peak_bytes for one in found),
        seconds=parts[bound],
        bound=bound,
        parts=parts,
        repeats=len(found),
    )


def _one_stage(options: TransformConfig, plan: Plan, size: DataSize, rates: Rates) -> StageForecast:
    """Estimate passes over the embeddings, sums of squares, eigenvectors, and products with them."""
    n, d, raw = float(size.catalog), float(size.dim), float(size.raw_dim or size.dim)
    inner = float(options.truncate_dim or raw)
    passes, flops = 1, 0.0
    if options.is_affine:
        passes += 2
        flops += 2 * n * inner * d * (2 if options.whiten else 1)
    if options.compress != "none":
        flops += n * inner**2 + _EIGEN_FLOPS * inner**3
    if options.whiten:
        passes += 1
        flops += 3 * n * d**2 + _EIGEN_FLOPS * d**3
    read, written = 4 * n * raw * passes, 8 * n * d
    # float64 at half the rate of float32, where that is what was measured
    dtype = "float64" if "float64" in rates.gflops else plan.arithmetic
    slower = 1 if dtype == "float64" else 2
    parts = {
        "compute": rates.seconds("gemm_nt", slower * flops, dtype, plan.grid.tile)
        + _ENTRY_BYTES * n * raw * passes / rates.copy_bytes_s,
        "storage": read / rates.read_bytes_s + written / rates.write_bytes_s,
    }
    bound = max(parts, key=lambda part: parts[part])
    matrices = _MATRICES * 8 * (inner if options.is_affine else d) ** 2 if flops else 0.0
    peak = int(matrices + _ENTRY_BYTES * min(BLOCK_ENTRIES, n * raw))
    return StageForecast(
        Stage.TRANSFORM, "client", passes, flops, read, written, peak, parts[bound], bound, parts
    )
