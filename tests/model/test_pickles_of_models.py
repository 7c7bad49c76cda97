"""Models and estimators by ``pickle``, ``copy.deepcopy`` and ``joblib``: where they are, not what they hold."""

import copy
import io
import os
import pickle
import pickletools
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from small_fits import fit, tables

from l3ae_dist import EASE, L3AE
from l3ae_dist.errors import StageMissingError, WorkspaceError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import load_export

SMALL = {"cluster": "synchronous", "tile_size": 16, "dtype": "float64"}
MOST_BYTES = 100_000


def by_joblib(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    return joblib.load(file)


def by_pickle(value):
    data = pickle.dumps(value)
    assert len(data) < MOST_BYTES
    return pickle.loads(data)


WAYS = (by_pickle, by_joblib, copy.deepcopy, copy.copy)


def fitted(where, **model):
    fit(where, **model)
    model = load_model(where, memory_budget="64MiB", threads=1)
    return model, model.recommend([1, 2], 5)


def estimator(where):
    log, items, rows = tables()
    return L3AE(reg_x=10, reg_f=5, reg_e=10, compute=SMALL).fit(log, items, workspace=where, embeddings=rows)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_model_answers_the_same_within_the_same_budget(tmp_path, way):
    model, expected = fitted(tmp_path / "w")
    again = way(model)
    assert again is not model
    assert (again.memory_budget, again.threads, again.params) == (64 * 2**20, 1, model.params)
    pd.testing.assert_frame_equal(again.recommend([1, 2], 5), expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_fitted_estimator_answers_the_same(tmp_path, way):
    model = estimator(tmp_path / "w")
    expected = model.recommend([1, 2], 5)
    again = way(model)
    assert again.get_params() == model.get_params()
    assert again.certificate_ == model.certificate_
    assert again.result_["run"] == model.result_["run"]
    pd.testing.assert_frame_equal(again.recommend([1, 2], 5), expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_an_estimator_that_is_not_fitted_can_be_fitted(tmp_path, way):
    model = way(EASE(reg_x=3, compute=SMALL))
    log, items, _ = tables()
    values = {"reg_x": 3, "alpha": 0.0, "beta": 0.0, "compute": SMALL, "core": None, "data_options": None}
    assert model.get_params() == values
    assert model.fit(log, items, workspace=tmp_path / "w").n_items_ == len(items)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_an_exported_model_answers_the_same(tmp_path, way):
    fitted(tmp_path / "w")[0].export_weights(tmp_path / "out", k=5)
    served = load_export(tmp_path / "out")
    for one, want in zip(way(served).recommend([[1, 2]], 4), served.recommend([[1, 2]], 4), strict=True):
        np.testing.assert_array_equal(one, want)


def test_a_pickle_names_its_model_when_the_workspace_has_gone_on(tmp_path):
    model, expected = fitted(tmp_path / "w")
    data = pickle.dumps(model)
    other, later = fitted(tmp_path / "w", reg_x=500)
    assert not later.equals(expected)
    again = pickle.loads(data)
    assert again.params == model.params != other.params
    pd.testing.assert_frame_equal(again.recommend([1, 2], 5), expected)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(again)).recommend([1, 2], 5), expected)
    pd.testing.assert_frame_equal(load_model(tmp_path / "w").recommend([1, 2], 5), later)


def test_a_pickle_of_a_saved_copy_opens_that_copy(tmp_path):
    model, expected = fitted(tmp_path / "w")
    model.save(tmp_path / "copy")
    again = by_pickle(load_model(tmp_path / "copy"))
    assert again.workspace.url == str(tmp_path / "copy")
    pd.testing.assert_frame_equal(again.recommend([1, 2], 5), expected)


def test_a_pickle_of_what_is_gone_says_so(tmp_path):
    model, _ = fitted(tmp_path / "w")
    data = pickle.dumps(model)
    (tmp_path / "w").rename(tmp_path / "away")
    with pytest.raises(WorkspaceError, match="no workspace at"):
        pickle.loads(data)
    fitted(tmp_path / "w", reg_x=500)
    with pytest.raises(StageMissingError, match="no longer holds the model"):
        pickle.loads(data)


def test_a_pickle_is_read_in_another_process_and_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, expected = fitted("w")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(load_model("w")))
    code = (
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb')); "
        "print(','.join(map(str, model.recommend([1, 2], 5).item_id)))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-c", code, tmp_path / "model.pickle"]
    path = os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))
    run = subprocess.run(
        command, cwd=elsewhere, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert run.stdout.strip() == ",".join(map(str, expected.item_id)), run.stderr


def test_a_pickle_of_a_model_names_one_function_and_plain_values_alone(tmp_path):
    model, _ = fitted(tmp_path / "w")
    opcodes = list(pickletools.genops(pickle.dumps(model)))
    words = [value for code, value, _ in opcodes if "UNICODE" in code.name]
    named = [str(tmp_path / "w"), model.label, model.document.run]
    assert words == ["l3ae_dist.model.fitted", "_opened_again", *named]
    assert [code.name for code, _, _ in opcodes].count("REDUCE") == 1
