"""Tables that cannot be used get one sentence that names the column; those that can are read as they are."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from l3ae_dist.config.data import WordsConfig
from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data import published_dataset as authors
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, dataset_id, ingest
from l3ae_dist.data.multi_hot_words import make_words
from l3ae_dist.embed.imports import import_embeddings, import_id
from l3ae_dist.embed.run import embed_items
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


def store(tmp_path, log, items, **options):
    workspace = Workspace.create(tmp_path / "w")
    options = IngestConfig.model_validate(options)
    return Dataset(workspace, ingest(log, items, options, workspace))


def text(log, name, value):
    """A column of numbers one row of which is text."""
    values = (1.0 + log.index).astype(str).to_numpy(object)
    values[3] = value
    return log.assign(**{name: values})


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda log: text(log, "w", "many"), {"weight_column": "w"}, "weight column 'w' holds 'many'"),
        (
            lambda log: text(log, "r", "good"),
            {"rating_column": "r", "rating_threshold": 3},
            "rating column 'r' holds 'good'",
        ),
        (
            lambda log: text(log, "t", "soon"),
            {"timestamp_column": "t", "split": "leave_last_out"},
            "'t' holds 'soon' .*, which is neither a number nor an ISO 8601 date",
        ),
        (
            lambda log: log.assign(t=np.where(log.index == 3, np.nan, 1.0)),
            {"timestamp_column": "t"},
            r"1 interaction\(s\) have no t",
        ),
        (
            lambda log: log.assign(w=pd.Timestamp("2020-01-01")),
            {"weight_column": "w"},
            "holds (dates|'2020-01-01')",
        ),
        (
            lambda log: log.assign(user_id=np.uint64(2**63) + log.user_id.to_numpy(np.uint64)),
            {},
            "set data.options.id_type to string",
        ),
        (lambda log: log.assign(user_id=2.0**60 + log.user_id), {}, "2\\^53"),
        (lambda log: log.assign(user_id=np.where(log.index == 3, np.inf, 1.0)), {}, "inf"),
    ],
    ids=["text weight", "text rating", "text time", "no time", "date weight", "uint64", "float", "infinite"],
)
@pytest.mark.parametrize("form", ["frame", "csv"])
def test_a_bad_column_gets_a_sentence_with_its_name(tmp_path, small_tables, change, options, message, form):
    log, items = small_tables
    log = change(log)
    if form == "csv":
        log.to_csv(tmp_path / "log.csv", index=False)
        log = str(tmp_path / "log.csv")
    with pytest.raises(DataError, match=message):
        store(tmp_path, log, items, **options)


def times_of(log):
    return pd.Timestamp("2020-03-01") + pd.to_timedelta((log.item_id * 37) % 41, unit="h")


@pytest.mark.parametrize("kind", ["naive", "with zone", "date objects", "numeric text"])
def test_times_as_text_split_like_the_numbers_they_stand_for(tmp_path, small_tables, kind):
    log, items = small_tables
    stamps = times_of(log)
    numbers = log.assign(t=stamps.astype(np.int64))
    as_text = {
        "naive": stamps.dt.strftime("%Y-%m-%d %H:%M:%S"),
        "with zone": stamps.dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        "date objects": pd.Series(list(stamps.dt.tz_localize("Asia/Tokyo")), dtype=object),
        "numeric text": stamps.astype(np.int64).astype(str),
    }[kind]
    options = {"timestamp_column": "t", "split": "leave_last_out"}
    want = store(tmp_path / "a", numbers, items, **options)
    log.assign(t=as_text).to_csv(tmp_path / "log.csv", index=False)
    for source in (log.assign(t=as_text), str(tmp_path / "log.csv")):
        got = store(tmp_path / "b", source, items, **options)
        for split in ("train", "valid", "test"):
            difference = got.user_rows(split, 0, got.n_users) != want.user_rows(split, 0, want.n_users)
            assert difference.nnz == 0


def test_weights_and_ratings_written_as_text_count_as_numbers(tmp_path, small_tables):
    log, items = small_tables
    log = log.assign(w=(1 + log.item_id % 4).astype(str), r=(log.index % 5).astype(str))
    ds = store(tmp_path, log, items, weight_column="w", rating_column="r", rating_threshold=2, split="none")
    kept = log[log.index % 5 >= 2]
    assert ds.nnz("train") == len(kept)
    assert ds.user_rows("train", 0, ds.n_users).sum() == kept.w.astype(int).sum()


def test_categorical_titles_and_texts_may_have_nulls(tmp_path, small_tables):
    log, items = small_tables
    for name in ("title", "text"):
        items[name] = items[name].where(items.item_id != 3).astype("category")
    ds = store(tmp_path, log, items)
    assert ds.titles(2, 5) == ["title 2", "", "title 4"]
    assert ds.texts(3, 4) == [""]


def test_a_frame_with_a_column_of_lists_is_read_and_named_by_its_content(tmp_path, small_tables):
    log, items = small_tables
    tagged = items.assign(tags=[[i, "x"] for i in items.item_id], at=[np.arange(i) for i in items.item_id])
    options = IngestConfig()
    assert store(tmp_path, log, tagged).n_items == 40
    name = dataset_id(log, tagged, options)
    assert name == dataset_id(log, tagged.copy(), options)
    tagged.at[5, "tags"] = [5, "y"]
    assert name != dataset_id(log, tagged, options)


def test_a_grid_without_any_distillation_is_refused_by_the_configuration():
    values = {"workspace": "w", "model": {"name": "l3ae"}, "grid": {"ridges": [10], "reg_e": [0]}}
    with pytest.raises(ConfigError, match=r"grid\.reg_e"):
        make_config(values)
    assert make_config({**values, "grid": {"ridges": [10], "reg_e": [0, 5]}}).grid.reg_e == (0, 5)


def test_without_items_the_log_names_them(tmp_path, small_tables):
    log = small_tables[0]
    result = run(make_config({"workspace": str(tmp_path / "w")}), interactions=log, until="ingest")
    assert result["dataset"]["n_items"] == log.item_id.nunique()


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_an_empty_file_is_called_empty(tmp_path, small_tables, name):
    path = tmp_path / name
    path.write_text("")
    if name.endswith("parquet"):
        pd.DataFrame().to_parquet(path)
    with pytest.raises(DataError, match=r"the interactions .*are empty"):
        store(tmp_path, str(path), small_tables[1])


def test_a_missing_text_column_is_named_when_text_is_needed(tmp_path, small_tables):
    log, items = small_tables
    ds = store(tmp_path, log, items.drop(columns="text"), text_columns=["title", "plot"])
    assert not ds.has_text
    message = r"no column 'plot' \(text_columns\); they have item_id, title; .*set text_columns"
    with pytest.raises(DataError, match=message):
        make_words(ds, WordsConfig(), ds.workspace)
    with pytest.raises(DataError, match=message):
        embed_items(ds, EncoderConfig(), "embeddings")


def tables_with_zeros(log, items):
    """Ids that look like numbers and are not."""
    return (
        log.assign(user_id=log.user_id.map("{:05d}".format), item_id=log.item_id.map("{:03d}".format)),
        items.assign(item_id=items.item_id.map("{:03d}".format)),
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_ids_with_leading_zeros_come_back_as_they_were(tmp_path, small_tables, suffix):
    log, items = tables_with_zeros(*small_tables)
    paths = []
    for name, frame in (("log", log), ("items", items)):
        path = str(tmp_path / f"{name}.{suffix}")
        if suffix == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        elif suffix == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
        paths.append(path)
    options = {"id_type": "string"} if suffix in ("csv", "tsv") else {}
    ds = store(tmp_path, *paths, **options)
    assert ds.item_ids().tolist() == items.item_id.tolist()
    assert ds.user_ids().tolist() == sorted(set(log.user_id))
    assert ds.user_index(["00007"]).tolist() == [sorted(set(log.user_id)).index("00007")]


def test_numbers_in_json_lines_stay_numbers(tmp_path, small_tables):
    log, items = small_tables
    for name, frame in (("log", log), ("items", items)):
        frame.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    ds = store(tmp_path, str(tmp_path / "log.jsonl"), str(tmp_path / "items.jsonl"))
    assert ds.item_ids().dtype == np.int64
    assert ds.item_ids().tolist() == items.item_id.tolist()


def test_ids_over_the_largest_integer_are_kept_as_text(tmp_path, small_tables):
    log, items = small_tables
    large = np.uint64(2**63)
    log, items = (frame.assign(item_id=frame.item_id.to_numpy(np.uint64) + large) for frame in (log, items))
    with pytest.raises(DataError, match="id_type"):
        store(tmp_path, log, items)
    ds = store(tmp_path, log, items, id_type="string")
    assert ds.item_ids().tolist() == [str(2**63 + i) for i in range(40)]
    assert ds.user_ids().tolist() == sorted(map(str, set(log.user_id)))


@pytest.fixture
def folder(tmp_path, small_tables):
    """The published code's layout, with embeddings where it may have texts."""
    where = tmp_path / "authors"
    where.mkdir()
    log, _ = small_tables
    for number, name in enumerate(("trn", "val", "tst")):
        part = log[log.index % 3 == number] if number else log[log.index % 3 == 0]
        matrix = sparse.coo_matrix((np.ones(len(part)), (part.user_id, part.item_id)), shape=(60, 40))
        (where / f"{name}_mat.pkl").write_bytes(pickle.dumps(matrix.tocsr(), 4))
    rows = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    (where / "toy_items.pkl").write_bytes(pickle.dumps(rows, 4))
    return where, rows


def test_embeddings_in_the_published_layout_are_named_and_can_be_given(tmp_path, folder):
    where, rows = folder
    ds = store(tmp_path, str(where), None)
    with pytest.raises(DataError, match=r"toy_items\.pkl holds embeddings .* set data\.embeddings"):
        embed_items(ds, EncoderConfig(), "embeddings")
    source = str(where / "toy_items.pkl")
    name = import_id(source, ds.catalog)
    import_embeddings(source, ds, name)
    stored = ChunkArray.open(ds.workspace, f"embeddings/{name}")
    assert np.array_equal(stored.read(0, 0), rows)


def test_a_pickle_that_holds_no_array_is_no_embedding(tmp_path, folder):
    ds = store(tmp_path, str(folder[0]), None)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(["a"], 4))
    with pytest.raises(DataError, match="holds a list"):
        import_embeddings(str(tmp_path / "list.pkl"), ds, "embeddings")


def test_an_item_pickle_over_the_limit_does_not_stop_the_ingest(tmp_path, folder, monkeypatch):
    where, _ = folder
    monkeypatch.setattr(authors, "MAX_BYTES", 900)
    ds = store(tmp_path, str(where), None)
    assert ds.n_items == 40
    with pytest.raises(DataError, match=r"toy_items\.pkl is over 900 bytes"):
        ds.require_text()


@pytest.mark.dask
def test_l3ae_runs_on_the_published_layout_with_its_embeddings(tmp_path, folder, dask_session):
    where, _ = folder
    values = {
        "workspace": str(tmp_path / "w"),
        "data": {"interactions": str(where), "embeddings": str(where / "toy_items.pkl")},
        "model": {"name": "l3ae", "reg_x": 5, "reg_e": 5},
        "compute": {"cluster": "address", "address": dask_session.client.scheduler.address, "tile_size": 16},
    }
    result = run(make_config(values))
    assert set(result["models"]) == {"L3AE", "EASE"}
    assert len(load_model(str(tmp_path / "w")).recommend([0], n=3)) == 3
