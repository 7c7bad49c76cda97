"""Scores of heads that are made together, against those of each model by itself."""

import numpy as np
import pytest
from small_fits import tables

from l3ae_dist.config.load import make_config
from l3ae_dist.evaluation.groups import rank_groups
from l3ae_dist.graphs.held_out_ranks import RankParams, tile_batches
from l3ae_dist.graphs.score_terms import TermArrays
from l3ae_dist.graphs.shared_scoring import History, SharedScorer
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.pipeline.sweep import SweepJob
from l3ae_dist.solve.head_batches import batched_heads
from l3ae_dist.storage.layout import ScorePaths
from l3ae_dist.storage.tile_requests import ReadCount

SWEEP = {
    "ridge": [5], "reg_f": [5], "reg_e": [1, 50], "p": [0.2], "beta": [0, 0.3], "alpha": [0, 0.4],
    "diagonal": ["zero", "at_most", "none"], "xi": [0.1], "whiten": [0, 0.5],
    "members": ["ease", "lae", "rlae", "dan", "deql"],
}  # fmt: skip


class Compared(SweepJob):
    """A sweep that scores every model twice first: in its group, and by itself."""

    largest: float = 0.0
    models_seen: int = 0

    def _fit_and_evaluate(self, store, family, specs):
        for number, group in enumerate(rank_groups(specs, family.route)):
            self._compare(store, family, group.models, ScorePaths.of(f"compared-{number}").work(1))
        return super()._fit_and_evaluate(store, family, specs)

    def _compare(self, store, family, specs, work):
        dataset = family.dataset
        rows = dataset.user_rows("train", 0, dataset.n_users)
        arrays, users = TermArrays(self.workspace), slice(0, dataset.n_users)
        scorer = SharedScorer(History(rows, store.grid, store.dtype), arrays, process_reader(), ReadCount())
        made = batched_heads(family, specs)
        path = store.write_rows(work.array("heads"), made.factors)
        context = store.context({"heads": path}, RankParams(dataset.id, "valid", made.batches, 1 << 20))
        for j in range(store.grid.count):
            together = np.full((len(specs), dataset.n_users, store.grid.size(j)), np.nan, store.dtype)
            for batch in tile_batches(scorer, j, context):
                for some, scores in batch.of_users(users):
                    out = np.empty_like(together[some])
                    together[some] = scores.strip(users, out, np.empty_like(out))
            for number, spec in enumerate(specs):
                alone = scorer.scores(family.of(spec).terms(spec), j)
                alone[rows[:, store.grid.rows(j)].nonzero()] = -np.inf
                mine = together[made.order[number]]
                seen = np.isneginf(alone)
                assert (np.isneginf(mine) == seen).all(), spec
                mine, alone = mine[~seen], alone[~seen]
                gap = np.abs(mine - alone).max(initial=0.0) / max(np.abs(alone).max(initial=0.0), 1e-30)
                Compared.largest = max(Compared.largest, float(gap))
                Compared.models_seen += 1
        store.delete(work.base)


@pytest.mark.parametrize(
    ("route", "dtype", "most"),
    [("woodbury", "float64", 1e-11), ("woodbury", "float32", 1e-4), ("direct", "float64", 1e-11)],
)
def test_scores_of_a_batch_are_those_of_each_model_within_rounding(tmp_path, route, dtype, most):
    log, items, f = tables()
    config = make_config(
        {
            "workspace": str(tmp_path / "w"), "sweep": SWEEP, "evaluate": {"metric": "ndcg@5", "ks": [5]},
            "data": {"options": {"split": "random"}},
            "compute": {"cluster": "synchronous", "threads": 1, "dtype": dtype, "tile_size": 16,
                        "semantic_route": route},
        }
    )  # fmt: skip
    Compared.largest, Compared.models_seen = 0.0, 0
    found = run_job(Compared, config, Inputs(log, items, f), until="sweep")
    assert Compared.models_seen >= found["sweep"]["models"] > 60
    assert Compared.largest <= most
