"""The verdict of a run: what can be said, and nothing where there is nothing to say."""

from dataclasses import replace
from math import inf, nan

import pytest

from l3ae_dist.evaluation.significance import PairedComparison
from l3ae_dist.evaluation.verdict import evidence, verdict
from l3ae_dist.pipeline.result import comparisons_of

LIFT = PairedComparison(
    "ndcg@20", ("L3AE", "EASE"), 0.01, 0.002, 0.02, 0.0391, 0.016, 0.064, p_value=0.01, users=1671, pairs=2
)
MODELS = {"L3AE": {"test": {"ndcg@20": 0.2371}}, "EASE": {"test": {"ndcg@20": 0.2283}}}


def test_it_tells_the_lift_and_its_evidence():
    assert verdict(MODELS, [LIFT]) == "L3AE ranks 3.9 % better than EASE"
    assert verdict(MODELS, [replace(LIFT, lift=-0.05, lift_low=-0.1, lift_high=-0.01)]) == (
        "L3AE ranks 5.0 % worse than EASE"
    )
    assert evidence(MODELS, [LIFT]) == (
        "test ndcg@20 0.2371 against 0.2283, 95 % interval for all 2 pairs at once +1.6 to +6.4 %, "
        "paired over 1,671 users"
    )


@pytest.mark.parametrize("low", [-0.01, 0.0])
def test_an_interval_with_0_is_no_better(low):
    assert verdict(MODELS, [replace(LIFT, lift_low=low)]) == (
        "L3AE and EASE rank alike: a difference of +3.9 % may be chance"
    )


def test_a_lift_that_rounds_to_nothing_is_none():
    assert "rank alike" in verdict(MODELS, [replace(LIFT, lift=0.0002, lift_low=0.0001, lift_high=0.0003)])


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_could_not_be_compared_is_not_told(value):
    unknown = [replace(LIFT, lift=value)]
    assert verdict(MODELS, unknown) == "L3AE has a test ndcg@20 of 0.2371"
    assert evidence(MODELS, unknown) == ""
    assert verdict({"EASE": {"test": {"ndcg@20": value}}}, []) == ""


def test_there_is_none_without_figures():
    assert verdict({}) == verdict({"EASE": {}}) == verdict({"EASE": {"test": {"users": 4}}}) == ""
    assert verdict({"EASE": {"test": {"recall@10": 0.5}}}) == "EASE has a test recall@10 of 0.5000"
    assert evidence({}, [LIFT]).startswith("test ndcg@20 95 % interval")


def test_without_users_nothing_was_compared():
    told = LIFT.document() | {"users": 0.0, "lift": nan, "lift_low": nan, "lift_high": nan, "p_value": nan}
    assert comparisons_of({"comparisons": [told]}) == ()
    assert len(comparisons_of({"comparison": LIFT.document()})) == 1
    assert PairedComparison.of(told).p_text == "p unknown"
