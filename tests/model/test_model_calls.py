"""Saving and loading a fitted model, and the commands that call it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from samples import compute, text
from typer.testing import CliRunner

from l3ae_dist import EASE, L3AE
from l3ae_dist.cli import app as cli
from l3ae_dist.errors import ConfigError, DamagedTileError, StageMissingError, WorkspaceError
from l3ae_dist.model.demo import examples
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
N = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory, dask_session):
    rng = np.random.default_rng(3)
    log = pd.DataFrame(
        [(u, int(i)) for u in range(30) for i in rng.choice(38, rng.integers(3, 12), replace=False)],
        columns=["user_id", "item_id"],
    )
    items = pd.DataFrame({"item_id": range(N), "text": [f"title [{i}]" for i in range(N)]})
    fitted = L3AE(-5.0, 5.0, 20.0, compute=compute(dask_session))
    fitted.fit(log, items, workspace=str(tmp_path_factory.mktemp("fit") / "w"), embeddings=text(N, 8))
    fitted.add_items([101], embeddings=text(1, 8, seed=5))
    return fitted


def test_a_fitted_estimator_has_its_model_and_the_ids_and_counts_of_its_data(model):
    dataset = model.model_.dataset
    assert dataset.user_ids().tolist() == list(range(30))
    assert dataset.item_ids().tolist() == list(range(N))
    assert dataset.item_ids(3, 5).tolist() == [3, 4]
    assert (dataset.stats.n_users, dataset.stats.n_items) == (30, N)
    assert dataset.stats.nnz["train"] == dataset.user_rows("train", 0, 30).nnz
    assert not dataset.stats.weighted


def test_weights_are_columns_that_score_a_history(model):
    history = model.model_.dataset.user_rows("input", 3, 4)
    scores = history @ model.weights([7, 101])
    for column, item in enumerate([7, 101]):
        assert scores[0, column] == pytest.approx(model.explain(3, item)["total"].sum(), rel=1e-5)
    with pytest.raises(ConfigError, match="give a list of ids"):
        model.weights(7)


def test_examples_are_titles_that_a_reader_understands(model):
    found = examples(model.model_, users=2, n=3)
    assert len(found) == 2
    for one in found:
        dataset = model.model_.dataset
        owned = dataset.user_rows("input", one["user_id"], one["user_id"] + 1).indices
        titles = dataset.titles()
        assert set(one["liked"]) <= {titles[item] for item in owned}
        table = model.recommend([one["user_id"]], 3)
        assert [item["title"] for item in one["recommended"]] == table["title"].tolist()
        assert all(len(item["why"]) == 2 for item in one["recommended"])


def test_a_saved_model_recommends_the_same_without_what_made_it(model, tmp_path):
    where = tmp_path / "saved"
    model.save(str(where))
    want = model.recommend([3, 4], n=N + 1)
    saved = L3AE.load(f"file://{where}")
    assert saved.get_params()["reg_e"] == 20.0
    pd.testing.assert_frame_equal(saved.recommend([3, 4], n=N + 1), want)
    pd.testing.assert_frame_equal(saved.explain(3, 101), model.explain(3, 101))
    pd.testing.assert_frame_equal(saved.similar_items([101, 4]), model.similar_items([101, 4]))
    assert saved.add_items([102], embeddings=text(1, 8, seed=6)).tolist() == [102]
    assert not (where / "grams").exists()
    assert not list(where.glob("factors/**/L"))
    code = (
        "import sys\nfrom l3ae_dist.model.fitted import load_model\n"
        f"print(load_model({str(where)!r}).recommend([3, 4], {N + 1}, cold_items=False).to_json())\n"
        "assert not {'ray', 'torch', 'distributed'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = model.recommend([3, 4], N + 1, cold_items=False)
    assert json.loads(done.stdout) == json.loads(expected.to_json())
    with pytest.raises(WorkspaceError, match="is not empty"):
        model.save(str(where))
    with pytest.raises(StageMissingError, match="has no array 'gram'"):
        _ = Workspace.open(where).gram


def test_loading_reads_no_tile(model, tmp_path):
    """It works where the tiles are gone, which the first call then finds out."""
    where = tmp_path / "saved"
    model.save(str(where))
    shutil.rmtree(where / model.model_.array("P").path / "c")
    loaded = L3AE.load(str(where))
    assert loaded.n_items_ == N
    assert "40 items" in repr(loaded.model_)
    with pytest.raises(DamagedTileError, match="is missing"):
        loaded.recommend([3])


def test_another_member_is_not_loaded_by_mistake(model, tmp_path):
    with pytest.raises(ConfigError, match=r"holds L3AE, not EASE; use L3AE\.load"):
        EASE.load(model.model_.workspace.url)
    with pytest.raises(StageMissingError, match="no fitted model"):
        L3AE.load(Workspace.create(tmp_path / "empty").url)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda m: m.recommend("ann"),
            r"users is the single id 'ann'; give a list of ids, such as \['ann'\]",
        ),
        (lambda m: m.recommend(3), "users is the single id 3"),
        (lambda m: m.recommend([3], items="lamp"), "items is the single id 'lamp'"),
        (lambda m: m.recommend([3], filter_items=np.int64(7)), "filter_items is the single id"),
        (lambda m: m.similar_items(7), "item_ids is the single id 7"),
        (lambda m: m.weights("7"), "item_ids is the single id '7'"),
    ],
)
def test_a_single_id_is_refused_and_not_read_letter_by_letter(model, call, sentence):
    with pytest.raises(ConfigError, match=sentence):
        call(model)


def test_the_estimator_passes_on_what_the_model_takes(model):
    assert set(model.similar_items([4], n=N + 1).similar_item_id) >= {101}
    assert 101 not in set(model.similar_items([4], n=N + 1, cold_items=False).similar_item_id)
    np.testing.assert_array_equal(model.weights([5, 101]), model.model_.weights([5, 101]))


def test_a_fit_that_held_nothing_out_cannot_be_evaluated(model):
    with pytest.raises(
        ConfigError, match=r"nothing is held out .*data\.options\.split random instead of none"
    ):
        model.evaluate()


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def test_the_command_writes_parquet_in_full_and_reports_its_speed(model, tmp_path):
    url = model.model_.workspace.url
    target = tmp_path / "out" / "all.parquet"
    done = run("recommend", url, "--all", "-n", 4, "--output", target, "--reasons", 2, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["users"], report["rows"]) == (30, 120)
    assert report["users_per_second"] > 0
    want = model.recommend(range(30), n=4, return_reasons=2)
    got = pq.read_table(target).to_pandas()
    assert got.item_id.tolist() == want.item_id.tolist()
    np.testing.assert_allclose(got.score, want.score)
    assert [r["item_id"] for r in got.reasons[5]] == [r["item_id"] for r in want.reasons[5]]
    assert [path.name for path in target.parent.iterdir()] == ["all.parquet"]
    done = run("recommend", url, 3, "--output", tmp_path / "one.parquet")
    assert "users per second" in done.stdout


def test_the_command_reads_histories_and_lists(model, tmp_path):
    url = model.model_.workspace.url
    histories = pd.DataFrame({"user_id": ["ann", "ann", "bob"], "item_id": [4, 9, 5]})
    files = {"histories": histories, "allow": pd.DataFrame({"item_id": [1, 2, 30, 101]}),
             "block": pd.DataFrame({"user_id": ["ann"], "item_id": [30]})}  # fmt: skip
    for name, table in files.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    options = [f(name) for name in files for f in (lambda n: f"--{n}", lambda n: tmp_path / f"{n}.csv")]
    done = run("recommend", url, *options, "--json")
    assert done.exit_code == 0, done.output
    got = pd.DataFrame(json.loads(done.stdout)["recommendations"])
    assert {u: set(p.item_id) for u, p in got.groupby("user_id")} == {
        "ann": {1, 2, 101},
        "bob": {1, 2, 30, 101},
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--all"], "--all writes a file"),
        ([], "one of the three"),
        (["3", "--all", "--output", "x.parquet"], "one of the three"),
        (["77", "--output", "x.parquet"], "77"),
    ],
)
def test_wrong_use_of_the_command_is_one_sentence_and_leaves_no_file(
    model, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    done = run("recommend", model.model_.workspace.url, *arguments)
    assert done.exit_code in (2, 3)
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_explain_prints_a_line_for_each_item_and_the_score(model):
    url = model.model_.workspace.url
    done = run("explain", url, 3, 20)
    score = model.recommend([3], n=N, items=[20], filter_already_liked=False).score[0]
    last = next(line for line in reversed(done.stdout.splitlines()) if "score" in line)
    assert f"{score:+.4f}" in last
    assert all(f"title [{i}] ({i})" in done.stdout for i in model.explain(3, 20).item_id)
    done = run("similar", url, 4, "--kind", "semantic", "-n", 3, "--json")
    want = model.similar_items([4], 3, kind="semantic").similar_item_id.tolist()
    assert [row["similar_item_id"] for row in json.loads(done.stdout)["similar"]] == want
