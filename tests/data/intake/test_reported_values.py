"""Values that people reported as misread: times, weights, ratings, ids that look like nothing, histories."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intake_samples import (
    assert_fitted_on,
    catalog,
    command,
    fit,
    is_short,
    ones,
    read,
    rows,
    section,
    write_config,
)

from l3ae_dist import make_config, run
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.pipeline.append import append

LAST = {"timestamp_column": "t", "split": "leave_last_out"}


def timed(*times, items=(3, 1, 2)):
    """One user's log; the time at each item."""
    return pd.DataFrame({"user_id": "u", "item_id": list(items), "t": list(times)})


FAR = ["2021-05-01", "9999-12-31", "2020-01-01"]


def of_csv(path, frame):
    frame.to_csv(path / "log.csv", index=False)
    return str(path / "log.csv")


def of_jsonl(path, frame):
    frame.to_json(path / "log.jsonl", orient="records", lines=True)
    return str(path / "log.jsonl")


def of_parquet(path, frame):
    pq.write_table(pa.Table.from_pandas(frame), path / "log.parquet")
    return str(path / "log.parquet")


def typed(kind):
    """A frame or a Parquet file whose times have an Arrow or NumPy type."""

    def make(path, frame):
        stamps = frame["t"].to_numpy().astype("datetime64[s]")
        if kind == "datetime64[s]":
            return frame.assign(t=stamps)
        if kind == "objects":
            return frame.assign(t=pd.Series([value.item() for value in stamps], dtype=object))
        column = pa.array([value.item() for value in stamps]).cast(kind)
        table = pa.Table.from_pandas(frame.drop(columns="t")).append_column("t", column)
        pq.write_table(table, path / "log.parquet")
        return str(path / "log.parquet")

    return make


@pytest.mark.parametrize(
    "source",
    [
        of_csv,
        of_jsonl,
        of_parquet,
        typed("datetime64[s]"),
        typed("objects"),
        typed(pa.timestamp("us")),
        typed(pa.timestamp("ms", "UTC")),
        typed(pa.date32()),
        typed(pa.date64()),
    ],
    ids=["csv", "jsonl", "text in parquet", "datetime64[s]", "objects", "us", "ms UTC", "date32", "date64"],
)
@pytest.mark.parametrize("far", ["9999-12-31", "2262-04-12", "2500-01-01"])
def test_far_dates_come_last(tmp_path, source, far):
    frame = timed("2021-05-01", far, "2020-01-01")
    dataset = read(tmp_path / "w", source(tmp_path, frame), **LAST)
    assert [rows(dataset, split) for split in ("test", "valid", "train")] == [
        ones(u=[1]),
        ones(u=[3]),
        ones(u=[2]),
    ]


@pytest.mark.parametrize("source", [of_csv, of_jsonl, typed("datetime64[s]"), typed(pa.timestamp("us"))])
def test_dates_before_all_others_come_first(tmp_path, source):
    frame = timed("2021-05-01", "0001-01-01", "1600-01-01")
    dataset = read(tmp_path / "w", source(tmp_path, frame), **LAST)
    assert [rows(dataset, split) for split in ("test", "valid", "train")] == [
        ones(u=[3]),
        ones(u=[2]),
        ones(u=[1]),
    ]


@pytest.mark.parametrize("source", [of_csv, of_jsonl, of_parquet])
def test_times_keep_the_last_nanosecond(tmp_path, source):
    """Equal times would be ordered by item, which is the other way."""
    stamps = [f"2020-01-01T00:00:00.00000000{i}" for i in (1, 3, 2)]
    dataset = read(tmp_path / "w", source(tmp_path, timed(*stamps)), **LAST)
    assert [rows(dataset, split) for split in ("test", "valid", "train")] == [
        ones(u=[1]),
        ones(u=[2]),
        ones(u=[3]),
    ]


@pytest.mark.parametrize("source", [of_csv, of_jsonl, of_parquet, lambda path, frame: frame])
def test_integer_times_keep_the_last_digit(tmp_path, source):
    dataset = read(tmp_path / "w", source(tmp_path, timed(2**60 + 1, 2**60 + 3, 2**60 + 2)), **LAST)
    assert [rows(dataset, split) for split in ("test", "valid", "train")] == [
        ones(u=[1]),
        ones(u=[2]),
        ones(u=[3]),
    ]


def test_times_with_zones_are_ordered_by_the_instant(tmp_path):
    frame = timed("2020-01-01T12:00:00+05:00", "2020-01-01T09:00:00Z", "2020-01-01T05:00:00-03:00")
    dataset = read(tmp_path / "w", of_csv(tmp_path, frame), **LAST)  # 07:00, 09:00, 08:00
    assert [rows(dataset, split) for split in ("test", "valid", "train")] == [
        ones(u=[1]),
        ones(u=[2]),
        ones(u=[3]),
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("first", ["dates", "seconds"])
def test_dates_in_one_part_and_seconds_in_another_are_refused(tmp_path, form, first):
    dates = timed("2020-01-01T00:00:00", "2020-01-02T00:00:00", "2020-01-03T00:00:00")
    seconds = timed(1577836800, 1577923200, 1578009600).assign(user_id="v")
    order = [dates, seconds] if first == "dates" else [seconds, dates]
    writer = {"csv": of_csv, "jsonl": of_jsonl, "parquet": of_parquet}[form]
    for name, frame in zip("ab", order, strict=True):
        folder = tmp_path / "log" / name
        folder.mkdir(parents=True)
        writer(folder, frame)
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", str(tmp_path / "log"), **LAST)
    assert is_short(error, f"a/log.{form}", f"b/log.{form}", "date", "number|integer|seconds")


def test_dates_and_seconds_in_one_file_are_refused(tmp_path):
    frame = timed("2020-01-01", "1577836800", "2020-01-03")
    for source in (of_csv(tmp_path, frame), of_parquet(tmp_path, frame)):
        with pytest.raises(DataError) as error:
            read(tmp_path / "w", source, **LAST)
        assert is_short(error, "'t'")


def test_integers_in_one_part_and_fractions_in_another_are_both_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("user_id,item_id,t\nu,3,10\nu,1,30\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,t\nu,2,20.5\n")
    dataset = read(tmp_path / "w", str(tmp_path / "[ab].csv"), **LAST)
    assert rows(dataset, "test") == ones(u=[1])
    assert rows(dataset, "valid") == ones(u=[2])


WEIGHTED = pd.DataFrame(
    {
        "user_id": ["a", "a", "a", "b", "b", "c", "c", "d", "d", "e"],
        "item_id": [1, 2, 3, 1, 3, 2, 4, 3, 4, 5],
        "w": [5.0, 3.0, 0.0, 2.0, 1.0, 4.0, 1.0, 2.0, 2.0, 0.0],
    }
)
WITHOUT = {
    "a": {1: 5.0, 2: 3.0},
    "b": {1: 2.0, 3: 1.0},
    "c": {2: 4.0, 4: 1.0},
    "d": {3: 2.0, 4: 2.0},
}


@pytest.mark.parametrize("source", [of_csv, of_jsonl, of_parquet, lambda path, frame: frame])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_weight_of_zero_is_no_interaction(tmp_path, source, zero):
    frame = WEIGHTED.assign(w=WEIGHTED["w"].where(WEIGHTED["w"] > 0, zero))
    model = fit(tmp_path / "w", source(tmp_path, frame), weight_column="w")
    assert_fitted_on(model, WITHOUT)
    assert 2 in [value for name, value in model.dataset.stats.dropped.items() if "zero" in name]
    a = model.recommend(["a"], n=5)
    assert 3 in a["item_id"].tolist()
    folded = model.recommend(WEIGHTED[WEIGHTED["user_id"] == "a"].rename(columns={"w": "weight"}), n=5)
    pd.testing.assert_frame_equal(a, folded, check_dtype=False)


@pytest.mark.parametrize("split", ["random", "strong", "leave_last_out"])
def test_metrics_are_those_of_the_log_without_its_zeros(tmp_path, split):
    rng = np.random.default_rng(1)
    log = pd.DataFrame(
        {
            "user_id": rng.integers(0, 40, 300),
            "item_id": rng.integers(0, 20, 300),
            "t": rng.permutation(300),
            "w": rng.integers(0, 5, 300).astype(float),
        }
    ).drop_duplicates(["user_id", "item_id"])
    options = {"weight_column": "w", "timestamp_column": "t", "split": split}
    results = []
    for name, frame in (("all", log), ("some", log[log["w"] > 0])):
        config = make_config({**section(tmp_path / name, **options), "evaluate": {"ks": [5], "bootstrap": 0}})
        results.append(run(config, interactions=frame, items=catalog(*range(20))))
    everything, some = (result["models"] for result in results)
    np.testing.assert_equal(everything["EASE"]["test"], some["EASE"]["test"])
    assert results[0]["dataset"]["nnz"] == results[1]["dataset"]["nnz"]


def test_weights_that_add_up_to_zero_are_none_either(tmp_path):
    frame = pd.DataFrame({"user_id": ["a", "a", "a"], "item_id": [1, 1, 2], "w": [0.0, 0.0, 1.0]})
    assert rows(read(tmp_path / "w", frame, weight_column="w")) == {"a": {2: 1.0}}
    frame["w"] = [0.0, 2.0, 1.0]
    assert rows(read(tmp_path / "v", frame, weight_column="w")) == {"a": {1: 2.0, 2: 1.0}}


def test_appended_zeros_are_no_interactions(tmp_path):
    fit(tmp_path / "w", WEIGHTED, weight_column="w")
    more = pd.DataFrame({"user_id": ["a", "f"], "item_id": [4, 1], "w": [0.0, 2.0]})
    result = append(str(tmp_path / "w"), more, compute={"cluster": "synchronous"})
    assert result["dataset"]["nnz"]["train"] == 9


def test_dropped_rows_are_reported(tmp_path):
    path = of_csv(tmp_path, WEIGHTED)
    config = write_config(tmp_path, path, weight_column="w")
    done = command("run", config)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b2\b[^\n]*weight[^\n]*(zero|\b0\b)|\b2\b[^\n]*zero", done.stdout + done.stderr)
    status = command("status", tmp_path / "w")
    assert re.search(r"\b2\b[^\n]*(zero|weight)|(zero|weight)[^\n]*\b2\b", status.stdout)


@pytest.mark.parametrize(
    "written", ["NA", "None", "null", "NaN", "nan", "N/A", "NULL", "<NA>", "#N/A", "true"]
)
def test_words_for_nothing_are_ids_and_titles(tmp_path, written):
    (tmp_path / "log.csv").write_text(f"user_id,item_id\n{written},x\n{written},{written}\nu,{written}\n")
    (tmp_path / "items.csv").write_text(f"item_id,title,text\nx,{written},{written}\n{written},None,\n")
    model = fit(tmp_path / "w", str(tmp_path / "log.csv"), str(tmp_path / "items.csv"))
    assert_fitted_on(model, {written: {"x": 1.0, written: 1.0}, "u": {written: 1.0}}, ["x", written])
    assert model.dataset.titles() == [written, "None"]
    assert model.dataset.texts() == [written, ""]


def test_words_for_nothing_make_digits_text(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\nNA,1\n7,2\n")
    assert rows(read(tmp_path / "w", str(tmp_path / "log.csv"))) == ones(**{"NA": [1], "7": [2]})


@pytest.mark.parametrize("form", ["csv", "jsonl", "frame"])
def test_an_id_that_is_missing_is_refused(tmp_path, form):
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,1\n,2\n")
    (tmp_path / "log.jsonl").write_text('{"user_id": "u", "item_id": 1}\n{"item_id": 2}\n')
    source = {
        "csv": str(tmp_path / "log.csv"),
        "jsonl": str(tmp_path / "log.jsonl"),
        "frame": pd.DataFrame({"user_id": ["u", None], "item_id": [1, 2]}),
    }[form]
    with pytest.raises(DataError) as error:
        read(tmp_path / "w", source)
    assert is_short(error, "user")


PEAK = """
import resource, sys
sys.path.insert(0, "tests")
import intake_samples
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset = intake_samples.read(Path(sys.argv[1]) / "w", sys.argv[2])
print(dataset.n_users, before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_long_id_takes_no_more_memory(tmp_path, suffix):
    peaks = {}
    for length in (10, 5000):
        users = [f"user-{i:06d}" for i in range(100_000)]
        users[77_777] = "x" * length
        frame = pd.DataFrame({"user_id": users, "item_id": np.arange(100_000) % 5 + 1})
        path = tmp_path / f"{length}.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
        where = tmp_path / str(length)
        where.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(where), str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        users, _, peaks[length] = map(int, done.stdout.split())
        assert users == 100_000
    assert peaks[5000] < 1.15 * peaks[10] + 20


def test_a_long_id_is_found_again_and_shortened_in_messages(tmp_path):
    long = "x" * 5000
    log = pd.DataFrame({"user_id": [long, "u"], "item_id": [1, 2]})
    model = fit(tmp_path / "w", log)
    assert model.recommend([long])["user_id"].unique().tolist() == [long]
    with pytest.raises(DataError) as error:
        model.recommend([long + "y"])
    assert is_short(error, "x")
    with pytest.raises(DataError) as error:
        read(tmp_path / "v", log.assign(item_id=[1, 2]), catalog(long, "2"))
    assert is_short(error)


def test_ratings_without_a_threshold_are_not_passed_over_in_silence(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,stars\na,1,5\na,2,1\nb,1,4\n")
    done = command("run", write_config(tmp_path, tmp_path / "log.csv", rating_column="stars"))
    assert re.search("rating_threshold", done.stdout + done.stderr)


def test_a_threshold_keeps_the_rows_at_and_over_it(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,stars\na,1,5\na,2,1\nb,1,4\nb,3,3.9\n")
    model = fit(tmp_path / "w", str(tmp_path / "log.csv"), rating_column="stars", rating_threshold=4)
    assert_fitted_on(model, ones(a=[1], b=[1]))


@pytest.fixture
def model(tmp_path):
    """Ids that are positions too, so that a matrix could be taken for ids."""
    log = pd.DataFrame({"user_id": [0, 0, 1, 1, 2], "item_id": [0, 1, 1, 2, 3]})
    return fit(tmp_path / "model", log, catalog(0, 1, 2, 3, 4))


@pytest.mark.parametrize("dtype", [float, int, bool])
def test_a_dense_array_of_histories_is_refused_with_the_right_calls(model, dtype):
    dense = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype)
    for given in (dense, dense[:1], np.asfortranarray(dense), np.zeros((2, 3), dtype)):
        with pytest.raises((ConfigError, DataError)) as error:
            model.recommend(given)
        assert is_short(error, "csr|sparse", "list|ids")
        with pytest.raises((ConfigError, DataError)):
            list(model.recommend_batches(given))


def test_one_column_of_a_frame_as_an_array_is_refused_with_the_right_calls(model):
    frame = pd.DataFrame({"user_id": [0, 1]})
    with pytest.raises((ConfigError, DataError)) as error:
        model.recommend(frame[["user_id"]].values)
    assert is_short(error, "ids|list", "csr|sparse")
    assert set(model.recommend(frame["user_id"].to_numpy())["user_id"]) == {0, 1}
    assert set(model.recommend(frame["user_id"])["user_id"]) == {0, 1}


def test_lists_of_items_are_histories_still(model):
    for given in ([[0, 1], [2]], [np.array([0, 1]), np.array([2])], ((0, 1), (2,))):
        shown = model.recommend(given)
        assert set(shown["user_id"]) == {0, 1}
        assert not set(shown.loc[shown["user_id"] == 0, "item_id"]) & {0, 1}
