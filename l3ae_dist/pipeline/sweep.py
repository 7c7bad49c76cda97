"""Sweeps: many models at the price of one factorisation for each distinct inverse.

An inverse depends on the ridge, on p and on beta. At one of them all models are heads of the same products:
each scales the columns of ``x P``, and adds the scores ``(x Q) V`` of the text times a weight
(:mod:`l3ae_dist.solve.head_batches`). Validation metrics need no top lists either, only the rank of every
held-out item (:mod:`l3ae_dist.graphs.held_out_ranks`).
"""

from collections.abc import Iterable
from dataclasses import replace

from l3ae_dist.config.members import MEMBERS, ModelSpec, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.swept_models import check_sweep, sweep_models
from l3ae_dist.config.transformed_spec import transform_settings, transforms_of
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluation.evaluate import compare_models, measure_models
from l3ae_dist.evaluation.groups import ModelGroup, rank_groups
from l3ae_dist.evaluation.model_figures import ModelFigures
from l3ae_dist.evaluation.sweep_ranking import held_users
from l3ae_dist.evaluation.top_lists import evaluated_users
from l3ae_dist.pipeline.early_stopping import StoppingMeasure, require_optuna
from l3ae_dist.pipeline.identity import refuse_few_dimensions
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_search import RankMeasure, Specs, search_models
from l3ae_dist.pipeline.result import Outcome, ResultDocument
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_of_config import RunPlan, fill_in, may_use_gpu, plan_run, semantic_route
from l3ae_dist.planning.ranking_plan import RankNeeds, RankPlan, plan_ranks
from l3ae_dist.planning.stage_counts import StageCounts, sweep_text
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import Stage


def run_sweep(config: RunConfig, inputs: Inputs, *, on_event: OnEvent | None = None) -> ResultDocument:
    """Try every model of ``config.sweep``, pick on the validation split, and leave the best one fitted.

    Parameters
    ----------
    config, inputs
        What to run, and its sources; those of the configuration are used where ``inputs`` has None.
    on_event
        Called with every event.

    Returns
    -------
    The result of :func:`l3ae_dist.pipeline.run.run`, with ``sweep`` (metric, table of all models with their
    validation metric, ridges and the seconds of their factorisations), ``models`` (the best of each member
    with all their validation and test metrics) and ``comparisons`` (that of the configuration against each
    other on the test split, paired over users and corrected for how many).

    Raises
    ------
    ConfigError
        Without a sweep, for a model that is no linear member, for values that cannot be tried, and when no
        user has validation items.
    """
    if config.sweep is None:
        raise ConfigError(
            "the configuration has no sweep; add a section such as "
            "sweep: {ridge: [20, 100, 500], reg_f: [1, 5], reg_e: [50, 200]}."
        )
    if config.sweep.early_stopping:
        require_optuna()
    check_sweep(config)  # what cannot be tried is refused before anything is read
    return run_job(SweepJob, config, inputs, until="sweep", on_event=on_event)


class SweepJob(Job):
    """Ingest and embed as every run, then one group of models after the other."""

    models = staticmethod(sweep_models)
    made_by = "sweep"

    def _features(self, dataset: Dataset, source: Source, embeddings: object) -> str | None:
        """Make the item features under every transformation, and return the id of the widest."""
        transforms = transforms_of(self.models(self.config))
        if not transforms:
            return super()._features(dataset, source, embeddings)
        refuse_few_dimensions(self.config, source, dataset, embeddings, transforms.values())
        embedding = self._embedded(dataset, source, embeddings)
        self.variants |= self._transformed(dataset, source, str(embedding), transforms)
        return self._by_width()[0]

    def _width(self, embedding: str) -> int:
        return int(open_rows(self.workspace, layout.features(embedding)).shape[1])

    def _by_width(self) -> list[str]:
        """List the transformed embeddings, those of most dimensions first."""
        return sorted(dict.fromkeys(self.variants.values()), key=self._width, reverse=True)

    def _plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> tuple[Plan, Route]:
        """The plan of the largest group; refuses data without validation items."""
        if not dataset.nnz("valid"):
            raise ConfigError(
                "no user has validation items, which pick the best model; set data.options.split to random, "
                "or give a split column with val rows."
            )
        slim = self._planned_models(specs)
        self._decide_for_all(dataset, slim)
        plan, route = super()._plan(dataset, embedding, slim)
        counts = StageCounts.of(specs)
        self.semantic_inverses = counts.texts if route == "direct" and counts.with_text else 0
        self.events(Message(message=sweep_text(len(specs), counts, route)))
        return plan, route

    def _planned_models(self, specs: Specs) -> Specs:
        """Return the models that the plan is made for.

        Of many models with one inverse one is picked; those of the text alone have every ``reg_f``.
        """
        return (*(spec for spec in specs if not spec.with_interactions), *_picked_at_most(specs))

    def _repeats(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> dict[str, int]:
        """Return how often each stage is still to be run: groups are ranked, and only picks are scored."""
        found = super()._repeats(plan, route, dataset, embedding, specs)
        found.pop(Stage.SCORE, None)
        return found | {Stage.RANK: len(rank_groups(self.models(self.config), route))}

    def _found_plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> RunPlan:
        """Plan the run with the stage that ranks held-out items by all models."""
        found, models = super()._found_plan(dataset, embedding, specs), self.models(self.config)
        self._ranks = self._plan_ranks(found.plan, found.route, dataset, embedding, models)
        return replace(found, plan=replace(found.plan, stages=(*found.plan.stages, self._ranks.stage)))

    def _decide_for_all(self, dataset: Dataset, specs: Specs) -> None:
        """Set the route, and the precision that the least certain of several transformations needs."""
        widest, others = self._by_width()[:1], self._by_width()[1:]
        if not others:
            return
        rows = open_rows(self.workspace, layout.features(widest[0]))
        compute = fill_in(self.config.compute)
        compute = compute.model_copy(update={"semantic_route": semantic_route(self.config, rows.shape)})
        self.config = self.config.model_copy(update={"compute": compute})
        plans = [plan_run(self.config, self.workspace, dataset, one, specs).plan for one in others]
        if compute.dtype == "auto" and any(plan.dtype == "float64" for plan in plans):
            compute = compute.model_copy(update={"dtype": "float64"})
            self.config = self.config.model_copy(update={"compute": compute})

    def _plan_ranks(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> RankPlan:
        groups = rank_groups(specs, route)
        features = self._by_width() or ([] if embedding is None else [embedding])
        # the users' x Q of every transformation are held beside each other
        d = 0 if route == "direct" else sum(map(self._width, features))
        needs = RankNeeds(
            dataset.n_users,
            dataset.nnz("valid"),
            dataset.nnz("train"),
            d,
            models=max(len(group.models) for group in groups),
            matrices=max(_products(group, route) for group in groups),
        )
        return plan_ranks(plan, needs, gpu=may_use_gpu(self.config.compute))

    def _fit_and_evaluate(self, store: ArtifactStore, family: Family, specs: Specs) -> Outcome:
        options = self.config.evaluate
        users = evaluated_users(family.dataset, options.max_users, options.seed)
        held = held_users(family.dataset, users)
        if not len(held.rows):
            raise ConfigError(
                f"none of the {len(users)} evaluated users has validation items; raise evaluate.max_users."
            )
        early = self.config.sweep is not None and self.config.sweep.early_stopping
        kind = StoppingMeasure if early else RankMeasure
        measure = kind(store, family, users, held, options, self._ranks)
        search = search_models(
            measure,
            family,
            specs,
            options.metric,
            timed=self.timed,
            tell=lambda text: self.events(Message(message=text)),
        )
        chosen = self._ordered(search.picked)
        table = [trial.row(with_ridge=trial.spec.with_interactions) for trial in search.trials]
        with self.timed("picks"):
            lists = measure.lists(chosen)
            certificate = self._save_model(store, family, chosen[0])
            models = measure_models(lists, chosen, options)
            comparisons = compare_models(lists, chosen, options)
        family.release(specs, chosen[:1])
        return Outcome(
            certificate,
            {spec.name: self._told(spec, models[spec.name]) for spec in chosen},
            len(users),
            comparisons,
            sweep={
                "metric": options.metric,
                "models": len(specs),
                "ridges": len({spec.ridge for spec in specs if spec.with_interactions}),
                "inverses": len({spec.inverse for spec in specs if spec.with_interactions}),
                "factorised": measure.factorised,
                "valid_users": len(held.rows),
                "semantic_inverses": self.semantic_inverses,
                "table": table,
                **(measure.stopped.document() if isinstance(measure, StoppingMeasure) else {}),
            },
        )

    def _ordered(self, picked: Iterable[ModelSpec]) -> list[ModelSpec]:
        """Order the picks: the one that is saved, those of the family, and the text alone."""
        saved = MEMBERS[self.config.model.name].title
        return sorted(picked, key=lambda spec: (spec.name != saved, not spec.with_interactions))

    def _told(self, spec: ModelSpec, figures: ModelFigures) -> ModelFigures:
        """Add the ridge of a pick, and the transformation of the embeddings that it reads."""
        figures["ridge"] = spec.ridge
        settings = transform_settings(spec)
        if settings:
            figures["transform"] = settings
        return figures


def _products(group: ModelGroup, route: Route) -> int:
    """Count the products of the users with n x n matrices that the models of a group need."""
    alphas = {spec.alpha for spec in group.models if spec.with_interactions}
    if route == "direct":
        return len(alphas) + any(spec.with_semantics for spec in group.models)
    plain = any(spec.with_semantics and spec.with_interactions for spec in group.models)
    return len(alphas | ({0.0} if plain else set()))


def _picked_at_most(specs: Specs) -> list[ModelSpec]:
    """Return one model of each member and inverse, with as many alphas as the picks may have."""
    alphas = sorted({spec.alpha for spec in specs if spec.alpha}) or [0.0]
    places = {name: place for place, name in enumerate(dict.fromkeys(spec.name for spec in specs))}
    found: dict[object, ModelSpec] = {}
    for spec in specs:
        key = spec.name, spec.inverse
        wanted = alphas[places[spec.name] % len(alphas)]
        if spec.with_interactions and (key not in found or spec.alpha == wanted):
            found[key] = spec
    return list(found.values())
