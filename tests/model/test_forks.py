"""Models in processes that were forked after the parent's model had answered, as by ``gunicorn --preload``."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from forks import WAYS, forked
from small_fits import N, fit, tables

from l3ae_dist import EASE, L3AE
from l3ae_dist.errors import ClusterError
from l3ae_dist.graphs.execute import ARITHMETIC, STAGING
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import load_export

USERS = [1, 2, 3]


def answers(model):
    """Everything that a model of the small fit is asked for."""
    return [
        model.recommend(USERS, 5, return_reasons=2),
        model.recommend([[1, 2], [3]], 5),
        model.similar_items([1, 2]),
        model.explain(1, 3),
        pd.DataFrame(model.weights([4])),
    ]


def check(model, expected):
    for one, want in zip(answers(model), expected, strict=True):
        pd.testing.assert_frame_equal(one, want)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    where = tmp_path_factory.mktemp("fork") / "w"
    fit(where)
    return where


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_has_answered_answers_in_a_child_and_in_the_child_of_that(fitted, way):
    model = load_model(fitted)
    expected = answers(model)

    def child():
        check(model, expected)
        forked(lambda: check(model, expected))

    way(child)
    check(model, expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_on_object_storage_answers_in_a_child(way, s3_environment, monkeypatch):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://bucket/forked-{way.__name__}"
    fit(url)
    model = load_model(url)
    expected = answers(model)

    def child():
        check(model, expected)
        check(load_model(url), expected)
        assert model.workspace.array(model.document.arrays["P"]).shape == (N, N)
        forked(lambda: check(model, expected))

    way(child)
    check(model, expected)


def test_children_answer_that_were_forked_while_threads_of_the_parent_asked(fitted):
    model = load_model(fitted)
    expected = answers(model)
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            model.recommend(USERS, 5)

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for _ in range(5):
                forked(lambda: check(model, expected))
        finally:
            ended.set()
    assert [one.result() for one in asking] == [None] * 3


@pytest.mark.parametrize("name", ["_lock", "cached_property"])
def test_a_lock_that_another_thread_held_is_free_in_the_child(fitted, name):
    model = load_model(fitted)
    expected = answers(model)
    lock = model.scorer.reader._lock if name == "_lock" else getattr(type(model.dataset).item_lookup, "lock", None)  # fmt: skip
    if lock is None:
        pytest.skip("this Python computes cached properties without a lock")
    held, ended = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            ended.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    vars(model.dataset).pop("item_lookup", None)
    try:
        forked(lambda: check(model, expected))
    finally:
        ended.set()
        holder.join()


def test_a_child_fits_while_a_thread_of_the_parent_computes(tmp_path):
    with ARITHMETIC, STAGING:
        forked(lambda: fit(tmp_path / "w"))


@pytest.mark.parametrize("way", WAYS)
def test_an_exported_model_answers_in_a_child(fitted, tmp_path, way):
    load_model(fitted).export_weights(tmp_path / "out", k=10)
    served = load_export(tmp_path / "out")
    rows, scores = served.recommend([[1, 2]], 5)

    def child():
        again = served.recommend([[1, 2]], 5)
        np.testing.assert_array_equal(again[0], rows)
        np.testing.assert_array_equal(again[1], scores)
        load_export(tmp_path / "out").similar_items([1])

    way(child)


@pytest.mark.dask
def test_an_estimator_that_was_fitted_on_a_cluster_answers_in_a_child(tmp_path):
    log, items, rows = tables()
    compute = {"cluster": "local", "workers": 1, "dashboard": False, "memory_budget": "1GiB", "tile_size": 16}
    model = L3AE(reg_x=10, reg_f=5, reg_e=10, compute=compute)
    model.fit(log, items, workspace=tmp_path / "w", embeddings=rows)
    expected = answers(model)
    forked(lambda: check(model, expected))

    def fit_on_a_cluster():
        with pytest.raises(ClusterError, match="was forked from one that had used Dask"):
            EASE(reg_x=11, compute=compute).fit(log, items, workspace=tmp_path / "u")

    forked(fit_on_a_cluster)
    small = {"cluster": "synchronous", "tile_size": 16}
    forked(lambda: EASE(reg_x=10, compute=small).fit(log, items, workspace=tmp_path / "v"))
