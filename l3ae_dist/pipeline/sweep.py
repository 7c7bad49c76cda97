"""Sweeps: many regularisers at the price of one factorisation for each distinct ridge.

At one ridge and one reg_f the scores of L3AE are linear in reg_e, with the scores of EASE where it is 0:
``x B = (x P) diag(-1 / diag(P)) + x + reg_e ((x P) diag(a - pc / diag(P)) + (x Q) V)``. Validation metrics
need no top lists either, only the rank of every held-out item (:mod:`l3ae_dist.graphs.held_out_ranks`).
"""

from dataclasses import replace

from l3ae_dist.config.members import ModelSpec, Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluation.evaluate import compare_models, measure_models
from l3ae_dist.evaluation.sweep_ranking import held_users
from l3ae_dist.evaluation.top_lists import evaluated_users
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_search import RankMeasure, Specs, search_models
from l3ae_dist.pipeline.result import Outcome, ResultDocument
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_of_config import may_use_gpu
from l3ae_dist.planning.ranking_plan import RankPlan, plan_ranks
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.family import Family
from l3ae_dist.storage import layout

NAMES = ("L3AE", "EASE", "EASEText")


def run_sweep(config: RunConfig, inputs: Inputs, *, on_event: OnEvent | None = None) -> ResultDocument:
    """Try every model of ``config.sweep``, pick on the validation split, and leave the best L3AE fitted.

    Parameters
    ----------
    config, inputs
        What to run, and its sources; those of the configuration are used where ``inputs`` has None.
    on_event
        Called with every event.

    Returns
    -------
    The result of :func:`l3ae_dist.pipeline.run.run`, with ``sweep`` (metric, table of all models with their
    validation metric, ridges and the seconds of their factorisations), ``models`` (the picks of L3AE, EASE
    and EASEText with all their validation and test metrics) and ``comparisons`` (L3AE against both on the
    test split, paired over users).

    Raises
    ------
    ConfigError
        Without a sweep, for another model than l3ae, and when no user has validation items.
    """
    if config.sweep is None:
        raise ConfigError(
            "the configuration has no sweep; add a section such as "
            "sweep: {ridge: [20, 100, 500], reg_f: [1, 5], reg_e: [50, 200]}."
        )
    if config.model.name != "l3ae":
        raise ConfigError(
            f"model.name is {config.model.name}, but a sweep tries l3ae, ease and ease_text; "
            "set it to l3ae or leave it out."
        )
    return run_job(SweepJob, config, inputs, until="sweep", on_event=on_event)


def sweep_models(config: RunConfig) -> Specs:
    """List the models of a sweep: L3AE, EASE at each of its ridges, EASEText at each of its reg_f."""
    assert config.sweep is not None
    models = config.sweep.models()
    ridges = sorted({spec.ridge for spec in models})
    texts = sorted({float(spec.reg_f or 0.0) for spec in models})
    return (
        *(ModelSpec("EASEText", reg_f=reg_f) for reg_f in texts),
        *(ModelSpec("EASE", ridge) for ridge in ridges),
        *models,
    )


class SweepJob(Job):
    """Ingest and embed as every run, then one group of models after the other."""

    models = staticmethod(sweep_models)

    def _plan(self, dataset: Dataset, embedding: str | None, specs: Specs) -> tuple[Plan, Route]:
        """The plan of the largest group; refuses data without validation items."""
        if not dataset.nnz("valid"):
            raise ConfigError(
                "no user has validation items, which pick the best model; set data.options.split to random, "
                "or give a split column with val rows."
            )
        some = {spec.ridge: spec for spec in specs if spec.name == "L3AE"}
        slim = tuple(spec for spec in specs if spec.name != "L3AE") + tuple(some.values())
        plan, route = super()._plan(dataset, embedding, slim)
        self._ranks = self._plan_ranks(plan, route, dataset, str(embedding))
        plan = replace(plan, stages=(*plan.stages, self._ranks.stage))
        plan.validate()
        return plan, route

    def _plan_ranks(self, plan: Plan, route: Route, dataset: Dataset, embedding: str) -> RankPlan:
        direct = route == "direct"
        d = 0 if direct else open_rows(self.workspace, layout.features(embedding)).shape[1]
        gpu = may_use_gpu(self.config.compute)
        return plan_ranks(plan, dataset.n_users, dataset.nnz("train"), d, 2 if direct else 1, gpu=gpu)

    def _fit_and_evaluate(self, store: ArtifactStore, family: Family, specs: Specs) -> Outcome:
        options = self.config.evaluate
        users = evaluated_users(family.dataset, options.max_users, options.seed)
        held = held_users(family.dataset, users)
        if not len(held.rows):
            raise ConfigError(
                f"none of the {len(users)} evaluated users has validation items; raise evaluate.max_users."
            )
        measure = RankMeasure(store, family, users, held, options, self._ranks)
        search = search_models(
            measure,
            family,
            specs,
            options.metric,
            timed=self.timed,
            tell=lambda text: self.events(Message(message=text)),
        )
        chosen = sorted(search.picked, key=lambda spec: NAMES.index(spec.name))
        table = [trial.row(with_ridge=trial.spec.with_interactions) for trial in search.trials]
        with self.timed("picks"):
            lists = measure.lists(chosen)
            certificate = self._save_model(store, family, chosen[0])
            models = measure_models(lists, chosen, options)
            comparisons = compare_models(lists, chosen, options)
        family.release(specs, chosen[:1])
        return Outcome(
            certificate,
            {spec.name: {**models[spec.name], "ridge": spec.ridge} for spec in chosen},
            len(users),
            comparisons,
            sweep={
                "metric": options.metric,
                "models": len(table),
                "ridges": len({spec.ridge for spec in specs if spec.with_interactions}),
                "factorised": measure.factorised,
                "valid_users": len(held.rows),
                "table": table,
            },
        )
