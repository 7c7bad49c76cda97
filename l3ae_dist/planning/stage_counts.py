"""Counts of the runs of each stage for all models of a configuration, and what its workspace then holds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import workspace_bytes
from l3ae_dist.planning.stage_plans import phaseless, semantic
from l3ae_dist.storage.stages import TILE_STAGES, Stage

# Inverses that a search keeps beside the one it is at: of the best models so far.
_BEST = 2


@dataclass(frozen=True)
class StageCounts:
    """Runs of the stages for all models of a configuration.

    Parameters
    ----------
    ridges
        Distinct ridges of the interactions: factorisations and inverses.
    texts
        Distinct ridges of the text: the same on the direct route.
    groups, heads
        Passes that score, and the most models that one of them scores.
    """

    ridges: int
    texts: int
    groups: int
    heads: int

    @classmethod
    def of(cls, specs: Sequence[ModelSpec]) -> "StageCounts":
        """Count the runs for these models."""
        groups = Counter(spec.group for spec in specs)
        return cls(
            ridges=max(1, len({spec.ridge for spec in specs if spec.with_interactions})),
            texts=max(1, len({spec.reg_f for spec in specs if spec.reg_f is not None})),
            groups=len(groups),
            heads=max(groups.values()),
        )

    def stage(self, name: str) -> int:
        """Count the runs of a stage."""
        if name != phaseless(name):
            return 1 if name == semantic(Stage.GRAM) else self.texts
        if name in (*TILE_STAGES, Stage.CERTIFY, Stage.ASSEMBLE):
            return self.ridges
        if name == Stage.PRODUCT:
            return self.ridges * self.texts
        return self.groups if name == Stage.SCORE else 1


def fullest_bytes(plan: Plan, size: DataSize, keep: Sequence[str], ridges: int) -> int:
    """Return the bytes of a workspace at its fullest: one solve at a time, beside it what is kept.

    Parameters
    ----------
    plan, size
        Of the run, and of its data.
    keep
        Factors kept after the stage that needs them: ``L``, ``Linv``, ``P``.
    ridges
        Factorisations and inverses, one after the other.
    """
    triangle = next(stage.bytes_written for stage in plan.stages if stage.name == Stage.GRAM)
    # a search keeps the inverses of the best models so far, or all of them
    inverses = ridges - 1 if "P" in keep else min(ridges - 1, _BEST)
    factors = ridges * sum(name in keep for name in ("L", "Linv"))
    return workspace_bytes(plan, size) + int((inverses + factors) * triangle)
