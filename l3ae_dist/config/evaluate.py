"""The section on the evaluation: metrics, cut-offs, intervals and the sample of users."""

from typing import Annotated, Literal

from pydantic import Field

from l3ae_dist.config.section import TextSection
from l3ae_dist.linalg.ranks_in_rows import METRICS


class EvaluateConfig(TextSection):
    """The metrics that are measured, and the users that they are measured on."""

    metric: str = Field(default="ndcg@20", pattern=rf"^({'|'.join(METRICS)})@[1-9][0-9]*$")
    """Picks the regularisers and is compared between models."""
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(5, 10, 20, 50), min_length=1)
    """Cut-offs of the metrics; that of ``metric`` is added."""
    by: tuple[Literal["popularity", "activity"], ...] = ()
    """Also measure by item popularity and by user activity, in fifths."""
    beside: tuple[Literal["ease", "ease_text"], ...] = ("ease",)
    """Models measured beside the model where that inverts nothing more: EASE at its ridges, and beside
    l3ae EASEText at its reg_f."""
    bootstrap: int = Field(default=1000, ge=0)
    """Resamples of the bootstrap intervals over users; 0 leaves them out, and with them the comparisons."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap and of the user sample."""
    max_users: int | None = Field(default=None, ge=1)
    """Evaluate a seeded sample of so many users; when null all, or a sample of 100,000 where all would cost
    too much."""

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """``ks`` and the cut-off of ``metric``, ascending."""
        return tuple(sorted({*self.ks, int(self.metric.partition("@")[2])}))
