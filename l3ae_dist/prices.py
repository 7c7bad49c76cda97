"""Prices of object storage, for the estimate that a run prints before its tile stages."""

from pydantic import BaseModel, ConfigDict, Field


class PriceConfig(BaseModel):
    """What object storage costs, in any currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage_gib_month: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A GiB for a month."""
    per_1000_writes: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A thousand writes (PUT)."""
    per_1000_reads: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """A thousand reads (GET)."""
