"""Prices of storage and machines, for the estimates before a run."""

from pydantic import Field

from l3ae_dist.config.section import Section


class PriceConfig(Section):
    """Prices of storage and machines, in any currency."""

    storage_gib_month: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A GiB for a month."""
    per_1000_writes: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A thousand writes (PUT)."""
    per_1000_reads: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A thousand reads (GET)."""
    worker_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A Dask worker for an hour, with its share of a machine."""
    actor_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """An embedding actor for an hour."""
