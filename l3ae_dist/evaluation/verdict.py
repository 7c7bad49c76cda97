"""The verdict of a run in one sentence: it opens the report, the result in the terminal, and the status."""

from collections.abc import Mapping, Sequence
from math import isfinite

from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.storage.records import JsonObject

_USUAL = "ndcg@20"
# Lifts below are written as 0.0 %.
_VISIBLE = 0.0005
# Results of models by name.
Models = Mapping[str, JsonObject]


def verdict(models: Models, comparisons: Sequence[PairedComparison] = ()) -> str:
    """Tell the outcome of a run: which model ranks better and by how much, or the figure of its model.

    Parameters
    ----------
    models
        The results of the models by name; their ``test`` has the metrics of the test split.
    comparisons
        Of the first model with others; the first one is told.

    Returns
    -------
    A sentence without its full stop; empty where nothing was measured.

    >>> lift = PairedComparison("ndcg@20", ("L3AE", "EASE"), 0.01, 0, 0.02, 0.0391, 0.01, 0.07, 0.01, 671)
    >>> verdict({}, [lift])
    'L3AE ranks 3.9 % better than EASE'
    >>> verdict({"EASE": {"test": {"ndcg@20": 0.23711}}})
    'EASE has a test ndcg@20 of 0.2371'
    """
    if comparisons and _is_known(comparisons[0]):
        return _compared(comparisons[0])
    name, figures = next(((name, model.get("test") or {}) for name, model in models.items()), ("", {}))
    metric = _USUAL if _USUAL in figures else next((key for key in figures if "@" in key), "")
    if not metric or not isinstance(figures[metric], float) or not isfinite(figures[metric]):
        return ""
    return f"{name} has a test {metric} of {figures[metric]:.4f}"


def _is_known(one: PairedComparison) -> bool:
    """Tell whether there is a lift: without test users, or beside a figure of 0, there is none."""
    return all(map(isfinite, (one.lift, one.lift_low, one.lift_high)))


def _compared(one: PairedComparison) -> str:
    ours, other = one.models
    if one.lift_low <= 0 <= one.lift_high or abs(one.lift) < _VISIBLE:
        return f"{ours} and {other} rank alike: a difference of {100 * one.lift:+.1f} % may be chance"
    word = "better" if one.lift > 0 else "worse"
    return f"{ours} ranks {100 * abs(one.lift):.1f} % {word} than {other}"


def evidence(models: Models, comparisons: Sequence[PairedComparison]) -> str:
    """Tell the figures, the interval and the users that a verdict rests on; empty without a comparison.

    Parameters
    ----------
    models, comparisons
        As of :func:`verdict`.
    """
    if not comparisons or not _is_known(comparisons[0]):
        return ""
    one = comparisons[0]
    figures = [(models.get(name, {}).get("test") or {}).get(one.metric) for name in one.models]
    told = "" if None in figures else f"{figures[0]:.4f} against {figures[1]:.4f}, "
    interval = f"{one.interval} {100 * one.lift_low:+.1f} to {100 * one.lift_high:+.1f} %"
    return f"test {one.metric} {told}{interval}, paired over {one.users:,.0f} users"
