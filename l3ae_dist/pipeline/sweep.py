"""Sweeps: many regularisers at the price of one factorisation for each distinct ridge.

At one ridge and one reg_f the scores of L3AE are linear in reg_e, with the scores of EASE where it is 0:
``x B = (x P) diag(-1 / diag(P)) + x + reg_e ((x P) diag(a - pc / diag(P)) + (x Q) V)``. Validation metrics
need no top lists either, only the rank of every held-out item (:mod:`l3ae_dist.graphs.rank`).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.errors import ConfigError
from l3ae_dist.evaluation.evaluate import TopLists, compare_models, evaluated_users, measure_models, score
from l3ae_dist.evaluation.sweep_ranks import Group, groups_of, held_ranks, release
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.metrics import per_user_of_ranks
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_ranks import RankPlan, plan_ranks
from l3ae_dist.planning.plan_run import may_use_gpu
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.solver import Solver
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import TILE_STAGES

NAMES = ("L3AE", "EASE", "EASEText")


def run_sweep(config: RunConfig, inputs: Inputs, *, on_event: OnEvent | None = None) -> dict[str, Any]:
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


def sweep_models(config: RunConfig) -> tuple[ModelSpec, ...]:
    """Every model that a sweep tries: L3AE, EASE at each of its ridges, EASEText at each of its reg_f."""
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

    def _plan(
        self, dataset: Dataset, embedding: str | None, specs: tuple[ModelSpec, ...]
    ) -> tuple[Plan, str]:
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

    def _plan_ranks(self, plan: Plan, route: str, dataset: Dataset, embedding: str) -> RankPlan:
        direct = route == "direct"
        d = 0 if direct else open_rows(self.workspace, layout.features(embedding)).shape[1]
        gpu = may_use_gpu(self.config.compute)
        return plan_ranks(plan, dataset.n_users, dataset.nnz("train"), d, 2 if direct else 1, gpu=gpu)

    def _fit_and_evaluate(self, solver: Solver, specs: tuple[ModelSpec, ...]) -> dict[str, Any]:
        options = self.config.evaluate
        users = evaluated_users(solver.dataset, options.max_users, options.seed)
        counts = np.diff(solver.dataset.rows_of("valid", users).indptr)
        held, indptr = users[counts > 0], np.append(0, np.cumsum(counts[counts > 0]))
        if not len(held):
            raise ConfigError(
                f"none of the {len(users)} evaluated users has validation items; raise evaluate.max_users."
            )
        picks: dict[str, tuple[float, ModelSpec]] = {}
        table: list[dict[str, Any]] = []
        solved: list[dict[str, float]] = []
        groups = groups_of(specs, solver.route)
        for number, group in enumerate(groups, start=1):
            before = dict(solver.stats)
            with self.timed(group.label):
                ranks = held_ranks(solver, group, held, indptr, self._ranks)
            rows = [
                _row(spec, ranks[:, column], indptr, options.metric)
                for column, spec in enumerate(group.models)
            ]
            table += rows
            for spec, row in zip(group.models, rows, strict=True):
                if spec.name not in picks or row[options.metric] > picks[spec.name][0]:
                    picks[spec.name] = (row[options.metric], spec)
            seconds = _solve_seconds(before, solver.stats)
            if seconds and group.models[0].with_interactions:
                solved.append({"ridge": group.models[0].ridge, "seconds": seconds})
            self._say(group, number, len(groups), rows)
            needed = [spec for later in groups[number:] for spec in later.models]
            release(solver, specs, [*needed, *(spec for _, spec in picks.values())])
        chosen = [picks[name][1] for name in NAMES if name in picks]
        measured = self._measure_picks(solver, chosen, users)
        release(solver, specs, chosen[:1])
        return {
            **measured,
            "sweep": {
                "metric": options.metric,
                "models": len(table),
                "ridges": len({spec.ridge for spec in specs if spec.with_interactions}),
                "factorised": solved,
                "valid_users": len(held),
                "table": table,
            },
        }

    def _say(self, group: Group, number: int, total: int, rows: list[dict[str, Any]]) -> None:
        metric = self.config.evaluate.metric
        best = max(rows, key=lambda row: float(row[metric]))
        params = ", ".join(f"{name} {best[name]:g}" for name in ("reg_x", "reg_f", "reg_e") if name in best)
        text = (
            f"{group.label} ({number} of {total} groups): best {best['model']} with {params}, "
            f"validation {metric} {best[metric]:.4f}"
        )
        self.events(Message(message=text))

    def _measure_picks(self, solver: Solver, chosen: list[ModelSpec], users: Array) -> dict[str, Any]:
        """All metrics of the picks on both splits, the comparisons, and the best L3AE saved."""
        options = self.config.evaluate
        with self.timed("picks"):
            lists: dict[ModelSpec, TopLists] = {}
            for key in dict.fromkeys(spec.group for spec in chosen):
                group = tuple(spec for spec in chosen if spec.group == key)
                lists |= dict.fromkeys(group, score(solver, group, max(options.cutoffs), users))
            found = self._save_model(solver, chosen[0])
            models = measure_models(lists, chosen, options)
            for spec in chosen:
                models[spec.name]["ridge"] = spec.ridge
            comparisons = compare_models(lists, chosen, options)
        return {"certificate": found, "models": models, "comparisons": comparisons, "users": len(users)}


def _row(spec: ModelSpec, ranks: Array, indptr: Array, metric: str) -> dict[str, Any]:
    """One line of the table: the model and its mean validation metrics at the cut-off of ``metric``."""
    cut = metric.partition("@")[2]
    names = dict.fromkeys((f"recall@{cut}", f"ndcg@{cut}", metric))
    values = {name: float(np.nanmean(per_user_of_ranks(ranks, indptr, name))) for name in names}
    ridge = {"ridge": spec.ridge} if spec.with_interactions else {}
    return {"model": spec.name, **spec.params(), **ridge, **values}


def _solve_seconds(before: dict[str, StageStats], after: dict[str, StageStats]) -> float:
    """Seconds of the factorisation and inversion that were run in between; 0 when nothing was."""
    return sum(after[name].seconds for name in TILE_STAGES if after.get(name) is not before.get(name))
