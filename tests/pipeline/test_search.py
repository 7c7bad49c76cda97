"""The search loop: groups in order, the best of each kind, and what is kept after each group."""

import contextlib

import numpy as np

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.evaluation.groups import score_groups
from l3ae_dist.evaluation.significance import PairedComparison, paired_bootstrap
from l3ae_dist.pipeline.model_search import Search, Trial, search_models
from l3ae_dist.pipeline.result import Outcome, RunResult, comparisons_of
from l3ae_dist.solve.certificate import exact

EASE = [ModelSpec("EASE", ridge) for ridge in (10.0, 20.0)]
L3AE = [ModelSpec("L3AE", 5.0, 1.0, 5.0), ModelSpec("L3AE", 10.0, 1.0, 10.0)]
FIGURES = {EASE[0]: 0.2, EASE[1]: 0.1, L3AE[0]: 0.2, L3AE[1]: 0.3}


class Known:
    """Measures by a table, and keeps the picks."""

    keep_products = False

    def groups(self, specs):
        return score_groups(specs)

    def trials(self, group):
        return [Trial(spec, {"ndcg@5": FIGURES[spec]}) for spec in group.models]

    def needed(self, search, group, later):
        return [*later, *search.picked]

    def lists(self, picked):
        return {}


class Releases:
    """Notes what was kept."""

    def __init__(self):
        self.kept = []

    def release(self, tried, needed, *, keep_products):
        self.kept.append([spec.name + f" {spec.ridge:g}" for spec in needed])


def test_the_best_of_each_kind_is_picked_and_told_of_group_by_group():
    family, told, timed = Releases(), [], []

    @contextlib.contextmanager
    def clock(label):
        timed.append(label)
        yield

    search = search_models(Known(), family, (*EASE, *L3AE), "ndcg@5", timed=clock, tell=told.append)
    assert search.picked == [EASE[0], L3AE[1]]
    assert [trial.spec for trial in search.trials] == [EASE[0], L3AE[0], EASE[1], L3AE[1]]
    assert timed == ["ridge 10", "ridge 20"]
    assert family.kept == [["EASE 20", "L3AE 20", "EASE 10", "L3AE 10"], ["EASE 10", "L3AE 20"]]
    assert told == [
        "ridge 10 (1 of 2 groups): best EASE with reg_x 10, validation ndcg@5 0.2000",
        "ridge 20 (2 of 2 groups): best L3AE with reg_x 10, reg_f 1, reg_e 10, validation ndcg@5 0.3000",
    ]


def test_of_equal_models_the_first_stays_the_pick():
    search = Search("ndcg@5")
    search.add([Trial(EASE[0], {"ndcg@5": 0.5}), Trial(EASE[1], {"ndcg@5": 0.5})])
    assert search.picked == [EASE[0]]
    assert search.trials[0].row(with_ridge=True) == {
        "model": "EASE", "reg_x": 10.0, "ridge": 10.0, "ndcg@5": 0.5,
    }  # fmt: skip
    assert "ridge" not in search.trials[0].row(with_ridge=False)


def compared(other):
    values = np.linspace(0.1, 1.0, 9)
    return PairedComparison("ndcg@5", ("L3AE", other), **paired_bootstrap(values, values, repeats=5))


def test_one_comparison_stands_alone_several_beside_it_and_a_sweep_has_the_list_always():
    outcome = Outcome(exact("float32"), {}, 9, [compared("EASE")])
    assert set(outcome.document()) == {"certificate", "models", "users", "comparison"}
    both = Outcome(exact("float32"), {}, 9, [compared("EASE"), compared("EASEText")])
    assert both.document()["comparison"] == both.document()["comparisons"][0]
    sweep = Outcome(exact("float32"), {}, 9, [], sweep={"metric": "ndcg@5"})
    assert sweep.document()["comparisons"] == []
    for one in (outcome, both, sweep):
        assert comparisons_of(one.document()) == tuple(one.comparisons)


def test_a_result_has_the_keys_of_the_stages_that_it_came_to():
    result = RunResult({"id": "d"}, {"ingest": 0.1})
    assert list(result.document()) == ["dataset", "stage_seconds"]
    result.embedding = (None,)
    assert result.document() == {"dataset": {"id": "d"}, "embedding": None, "stage_seconds": {"ingest": 0.1}}
