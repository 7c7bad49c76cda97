"""Counts of the runs of each stage for all models of a configuration, and what its workspace then holds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from l3ae_dist.config.members import ModelSpec, Route
from l3ae_dist.config.transformed_spec import transform_of
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import workspace_bytes
from l3ae_dist.planning.stage_plans import phaseless, semantic
from l3ae_dist.storage.stages import TILE_STAGES, Stage


@dataclass(frozen=True)
class StageCounts:
    """Runs of the stages for all models of a configuration.

    Parameters
    ----------
    ridges
        Distinct systems of the interactions: factorisations and inverses.
    grams
        Distinct Gram matrices of the interactions, with weights of users and penalties of dropout.
    texts
        Distinct ridges of a text, each with every transformation: the same on the direct route.
    features
        Distinct transformations of the text.
    with_text
        Whether any model has a text's ridge.
    kinds
        Members with interactions: of each a search keeps the inverse of the best model so far.
    groups, heads
        Passes that score, and the most models that one of them scores.
    """

    ridges: int
    grams: int
    texts: int
    groups: int
    heads: int
    features: int = 1
    with_text: bool = True
    kinds: int = 2

    @classmethod
    def of(cls, specs: Sequence[ModelSpec]) -> "StageCounts":
        """Count the runs for these models."""
        groups = Counter(spec.group for spec in specs)
        texts = {(transform_of(spec), spec.reg_f) for spec in specs if spec.reg_f is not None}
        return cls(
            ridges=max(1, len({spec.inverse for spec in specs if spec.with_interactions})),
            grams=max(1, len({spec.inverse[1:] for spec in specs if spec.with_interactions})),
            texts=max(1, len(texts)),
            features=max(1, len({text for text, _ in texts})),
            with_text=bool(texts),
            kinds=kinds_of(specs),
            groups=len(groups),
            heads=max(groups.values()),
        )

    def stage(self, name: str) -> int:
        """Count the runs of a stage."""
        if name != phaseless(name):
            return self.features if name == semantic(Stage.GRAM) else self.texts
        if name in (*TILE_STAGES, Stage.CERTIFY, Stage.ASSEMBLE):
            return self.ridges
        if name == Stage.PRODUCT:
            return self.ridges * self.texts
        repeated: dict[str, int] = {Stage.SCORE: self.groups, Stage.GRAM: self.grams}
        return repeated.get(name, 1)


def kinds_of(specs: Iterable[ModelSpec]) -> int:
    """Count the members with interactions among some models."""
    return len({spec.name for spec in specs if spec.with_interactions})


def sweep_text(models: int, counts: StageCounts, route: Route) -> str:
    """Tell how many models a sweep tries, and how many inverses they need.

    Parameters
    ----------
    models, counts
        How many, and of which stages.
    route
        Of the semantic phase; the direct one inverts an n x n system of every text too.
    """
    text = f"{models:,} models on {counts.ridges:,} inverses"
    if route == "direct" and counts.with_text:
        products = counts.ridges * counts.texts
        text += f", {counts.texts:,} inverses of the text and {products:,} products with them"
    return text


def fullest_bytes(plan: Plan, size: DataSize, keep: Sequence[str], counts: StageCounts) -> int:
    """Return the bytes of a workspace at its fullest: one solve at a time, beside it what is kept.

    Parameters
    ----------
    plan, size
        Of the run, and of its data.
    keep
        Factors kept after the stage that needs them: ``L``, ``Linv``, ``P``.
    counts
        Factorisations and inverses, one after the other, and Gram matrices, which stay.
    """
    ridges = counts.ridges
    triangle = next(stage.bytes_written for stage in plan.stages if stage.name == Stage.GRAM)
    # a search keeps the inverses of the best models so far, or all of them
    inverses = ridges - 1 if "P" in keep else min(ridges - 1, counts.kinds)
    # tiles that are lost from memory are written beside the inverse
    factors = ridges * sum(name in keep for name in ("L", "Linv"))
    return workspace_bytes(plan, size) + int(
        (inverses + factors + counts.grams - 1 + bool(plan.in_memory)) * triangle
    )
