"""Metrics of top lists: all figures of a model, their intervals over users, and comparisons of models."""

from collections.abc import Mapping, Sequence

import numpy as np

from l3ae_dist.config.evaluate import EvaluateConfig
from l3ae_dist.config.members import ModelSpec
from l3ae_dist.evaluation.model_figures import Intervals, ModelFigures
from l3ae_dist.evaluation.significance import (
    PairedComparison,
    bootstrap_means,
    holm,
    joint_level,
    paired_bootstrap,
)
from l3ae_dist.evaluation.top_lists import TopLists
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.metrics import (
    Figures,
    by_item_popularity,
    by_user_activity,
    evaluate_top,
    head_items,
    per_user,
    restrict,
)
from l3ae_dist.storage import layout

_LEVEL = 0.95


def measure(
    lists: TopLists, spec: ModelSpec, split: layout.Split, ks: tuple[int, ...], by: tuple[str, ...] = ()
) -> Figures:
    """Measure one model by all metrics.

    Parameters
    ----------
    lists, spec
        Top lists of the users, and the model.
    split
        Held-out items: ``"valid"`` or ``"test"``.
    ks
        Cut-offs.
    by
        Also by item ``"popularity"`` or user ``"activity"``.
    """
    dataset, top = lists.dataset, lists.of(spec)
    truth = dataset.rows_of(split, lists.users)
    popularity = dataset.popularity()
    result = evaluate_top(top, truth, popularity, ks)
    if "popularity" in by:
        result["by_item_popularity"] = by_item_popularity(top, truth, popularity, ks)
    if "activity" in by:
        result["by_user_activity"] = by_user_activity(top, truth, dataset.activity()[lists.users], ks)
    return result


def measure_users(lists: TopLists, spec: ModelSpec, split: layout.Split, metric: str) -> Array:
    """Measure every evaluated user by one metric.

    Parameters
    ----------
    lists, spec
        Top lists of the users, and the model.
    split, metric
        Held-out items, and name of the metric.

    Returns
    -------
    (users,) float64, NaN where a user has nothing held out.
    """
    return per_user(lists.of(spec), lists.dataset.rows_of(split, lists.users), metric)


def measure_models(
    lists: Mapping[ModelSpec, TopLists], specs: Sequence[ModelSpec], options: EvaluateConfig
) -> dict[str, ModelFigures]:
    """Measure models on the validation and test splits, with intervals on the test split.

    Parameters
    ----------
    lists, specs
        Top lists that hold each model, and the models.
    options
        Cut-offs, groups and resamples.

    Returns
    -------
    By name of the model: its ``params``, figures on ``valid`` and ``test``, and ``intervals``.
    """
    return {spec.name: _model_figures(lists[spec], spec, options) for spec in specs}


def _model_figures(lists: TopLists, spec: ModelSpec, options: EvaluateConfig) -> ModelFigures:
    figures = ModelFigures(
        params=spec.params(),
        valid=measure(lists, spec, "valid", options.cutoffs, options.by),
        test=measure(lists, spec, "test", options.cutoffs, options.by),
    )
    if options.bootstrap:
        figures["intervals"] = measure_intervals(lists, spec, options)
    return figures


def measure_intervals(lists: TopLists, spec: ModelSpec, options: EvaluateConfig) -> Intervals:
    """Estimate bootstrap intervals over users of a model's main figures on the test split.

    The same users are drawn for every model.

    Parameters
    ----------
    lists, spec
        Top lists of the users, and the model.
    options
        Metric, resamples and their seed.

    Returns
    -------
    Intervals of the metric that models are compared by (on ``all`` alone, unless it is one of these) and of
    recall and NDCG at its cut-off.
    """
    dataset, top = lists.dataset, lists.of(spec)
    truth = dataset.rows_of("test", lists.users)
    head = head_items(dataset.popularity())
    tail = np.setdiff1d(np.arange(truth.shape[1]), head)
    cut = options.metric.partition("@")[2]
    usual = tuple(sorted((f"recall@{cut}", f"ndcg@{cut}"), key=lambda name: name != options.metric))

    def estimate(wanted: Matrix, names: Sequence[str]) -> dict[str, list[float] | None]:
        values = np.column_stack([per_user(top, wanted, name) for name in names])
        bounds = bootstrap_means(
            values[np.isfinite(values[:, 0])], repeats=options.bootstrap, seed=options.seed, level=_LEVEL
        )
        known = np.isfinite(bounds).all()
        return {name: bounds[i].tolist() if known else None for i, name in enumerate(names)}

    return Intervals(
        level=_LEVEL,
        repeats=options.bootstrap,
        all=estimate(truth, tuple(dict.fromkeys((options.metric, *usual)))),
        head=estimate(restrict(truth, head), usual),
        tail=estimate(restrict(truth, tail), usual),
    )


def compare_models(
    lists: Mapping[ModelSpec, TopLists], chosen: Sequence[ModelSpec], options: EvaluateConfig
) -> list[PairedComparison]:
    """Compare the first model with each other on the test split, paired over users, corrected for how many.

    Parameters
    ----------
    lists, chosen
        Top lists that hold each model, and the models.
    options
        Metric, resamples (none: no comparisons) and their seed.
    """
    if not options.bootstrap:
        return []
    ours, *others = (measure_users(lists[spec], spec, "test", options.metric) for spec in chosen)
    level = joint_level(len(others))
    found = [
        paired_bootstrap(ours, theirs, repeats=options.bootstrap, seed=options.seed, level=level)
        for theirs in others
    ]
    adjusted = holm([one["p_value"] for one in found])
    least = 1 / (options.bootstrap + 1)
    names = [(chosen[0].name, spec.name) for spec in chosen[1:]]
    return [
        PairedComparison(
            options.metric,
            pair,
            **{**one, "p_value": p},
            pairs=float(len(others)),
            least_p=p if one["p_value"] <= least * (1 + 1e-9) else least,
        )
        for pair, one, p in zip(names, found, adjusted, strict=True)
    ]
