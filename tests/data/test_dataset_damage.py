"""A chunk of the dataset that is missing or changed is found by its reader, listed, and made again."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import zarr
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.data import WordsConfig
from l3ae_dist.config.embedding import TransformConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.multi_hot_words import make_words
from l3ae_dist.embed.stored_transform import transform_rows
from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage import vectors
from l3ae_dist.storage.repair import take_out_damage
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

OPTIONS = IngestConfig(weight_column="weight", split="strong", heldout_users=0.2)


@pytest.fixture
def tables(small_tables):
    log, items = small_tables
    log = log.assign(weight=1.0 + log.item_id % 3, user_id="u" + log.user_id.astype(str))
    return log, items


@pytest.fixture
def made(tmp_path, tables):
    """A weighted dataset with string user ids and its words."""
    workspace = Workspace.create(tmp_path / "w")
    dataset = Dataset(workspace, ingest(*tables, OPTIONS, workspace))
    make_words(dataset, WordsConfig(), workspace)
    return tmp_path / "w"


def files(where):
    """Contents of every stored chunk of the data, by path."""
    folders = ("interactions", "users", "items", "words", "roots")
    found = (path for folder in folders for path in (where / folder).rglob("*") if path.parent.name == "c")
    return {path.relative_to(where): path.read_bytes() for path in found}


def spoil(file, kind):
    data = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
        return
    data[len(data) // 3] ^= 16
    file.write_bytes(data[:-7] if kind == "truncated" else data)


def read_all(where):
    workspace = Workspace.open(where)
    (name,) = (path.name for path in (where / "interactions").iterdir() if path.is_dir())
    dataset = Dataset(workspace, name)
    for split in ("train", "input", "valid", "test"):
        dataset.user_rows(split, 0, dataset.n_users)
    dataset.columns(0, dataset.n_items)
    for read in (dataset.item_ids, dataset.user_ids, dataset.titles, dataset.texts, dataset.popularity):
        read()
    make = make_words(dataset, WordsConfig(), workspace)
    for part in ("indptr", "indices"):
        Vector(workspace, f"words/{make}/{part}")[:]


def verify(where):
    done = CliRunner().invoke(cli.app, ["verify", str(where), "--json"])
    return done.exit_code, json.loads(done.stdout)["damage"]


@pytest.mark.parametrize("kind", ["missing", "truncated", "flipped bit"])
def test_every_damaged_chunk_is_found_on_read_listed_by_verify_and_made_again(made, tables, kind):
    sound = files(made)
    assert {path.parts[0] for path in sound} == {"interactions", "users", "items", "words"}
    one_each = {path.parts[0]: path for path in sound}.values()
    for path in sound if kind == "missing" else one_each:
        spoil(made / path, kind)
        stage = "words" if path.parts[0] == "words" else "ingest"
        with pytest.raises(DamagedTileError, match=rf"redoes the {stage} stage"):
            read_all(made)
        code, damage = verify(made)
        array = str(path.parent.parent)
        assert code == 6
        assert [(entry["array"], entry["i"], entry["j"]) for entry in damage] == [(array, 0, 0)]
        assert f"redoes the {stage} stage" in damage[0]["problem"]
        workspace = Workspace.open(made)
        assert take_out_damage(workspace) == [(array, 0, 0)]
        ingest(*tables, OPTIONS, workspace)
        read_all(made)
        assert files(made) == sound
        assert verify(made) == (0, [])


@pytest.mark.parametrize("array", ["interactions/*/train_csr/indptr", "items/*/title/offsets", "users/*/ids"])
def test_a_vector_that_is_gone_as_a_whole_is_damage_too(made, tables, array):
    sound = files(made)
    (folder,) = made.glob(array)
    shutil.rmtree(folder)
    with pytest.raises(DamagedTileError, match="redoes the ingest stage"):
        read_all(made)
    assert verify(made)[0] == 6
    workspace = Workspace.open(made)
    assert take_out_damage(workspace)
    with pytest.raises(StageMissingError, match="its interactions and items"):
        read_all(made)
    ingest(*tables, OPTIONS, workspace)
    assert files(made) == sound
    assert verify(made) == (0, [])


def test_a_chunk_that_lost_its_mark_as_well_is_still_damage(made):
    (file,) = made.glob("interactions/*/test_csr/indices/c/0")
    (mark,) = (made / "meta/done" / file.parent.parent.relative_to(made)).iterdir()
    file.unlink()
    mark.unlink()
    with pytest.raises(DamagedTileError):
        read_all(made)
    assert take_out_damage(Workspace.open(made))


@pytest.mark.parametrize("length", [0, 1, 6, 7, 20])
def test_ranges_of_a_vector_read_their_own_chunks_and_equal_slices(tmp_path, monkeypatch, length):
    monkeypatch.setattr(vectors, "_CHUNK", 7)
    workspace = Workspace.create(tmp_path / "w")
    values = np.arange(length, dtype=np.int32) * 3
    write_vector(workspace, "v/x", np.ones(30, np.int32))
    write_vector(workspace, "v/x", values)
    stored = Vector(workspace, "v/x")
    for start in range(length + 2):
        for stop in (start - 1, start, start + 1, start + 8, None):
            part = slice(start, stop)
            if stop != -1:
                assert np.array_equal(stored[part], values[part])
    assert np.array_equal(zarr.open_group(tmp_path / "w", mode="r")["v/x"][:], values)
    if length > 14:
        (tmp_path / "w/v/x/c/1").unlink()
        assert np.array_equal(stored[:7], values[:7])
        assert np.array_equal(stored[14:], values[14:])
        with pytest.raises(DamagedTileError, match=r"chunk \(1, 0\) of v/x"):
            stored[6:8]


def job(where, session, **model):
    address = session.client.scheduler.address
    compute = {"cluster": "address", "address": address, "dtype": "float64", "tile_size": 16}
    return make_config({"workspace": str(where), "model": model, "compute": compute})


@pytest.mark.dask
@pytest.mark.parametrize(
    ("model", "chunk"),
    [
        ({"name": "ease"}, "interactions/*/train_csr/indices/c/0"),
        ({"name": "ease"}, "interactions/*/train_csc/indices/c/0"),
        ({"name": "collective_ease"}, "words/*/indices/c/0"),
        ({"name": "gfcf", "rank": 4}, "roots/*/items/c/0"),
    ],
)
def test_a_run_redoes_the_stage_of_a_damaged_chunk_and_gives_the_same_result(
    tmp_path, small_tables, dask_session, model, chunk
):
    where = tmp_path / "w"
    log, items = small_tables
    config = job(where, dask_session, **model)
    first = run(config, interactions=log, items=items)
    lists = load_model(str(where)).recommend([0, 7], n=5)
    sound = files(where)
    (file,) = where.glob(chunk)
    spoil(file, "missing")
    assert verify(where)[0] == 6
    again = run(config, interactions=log, items=items)
    assert not again["reused"]
    assert again["models"] == first["models"]
    assert files(where) == sound
    pd.testing.assert_frame_equal(load_model(str(where)).recommend([0, 7], n=5), lists)


@pytest.mark.dask
def test_damage_met_inside_a_dask_stage_is_named_and_mended_by_the_same_run(
    tmp_path, small_tables, dask_session
):
    where = tmp_path / "w"
    config = job(where, dask_session, name="ease")
    run(config, interactions=small_tables[0], items=small_tables[1], until="ingest")
    (file,) = where.glob("interactions/*/train_csc/indices/c/0")
    spoil(file, "flipped bit")
    events = []
    result = run(config, interactions=small_tables[0], items=small_tables[1], on_event=events.append)
    damaged = [(e["array"].rpartition("/")[2], e["i"], e["j"]) for e in events if e["kind"] == "bad_tile"]
    assert damaged == [("indices", 0, 0)]
    assert result["models"]["EASE"]


@pytest.mark.dask
def test_recommend_from_a_damaged_dataset_exits_with_6(tmp_path, small_tables, dask_session):
    where = tmp_path / "w"
    run(job(where, dask_session, name="ease"), interactions=small_tables[0], items=small_tables[1])
    (file,) = where.glob("interactions/*/train_csr/indices/c/0")
    spoil(file, "missing")
    done = CliRunner().invoke(cli.app, ["recommend", str(where), "7", "--json"])
    assert done.exit_code == 6
    assert "redoes the ingest stage" in done.output


@pytest.mark.dask
def test_a_lost_map_of_transformed_embeddings_is_made_again(tmp_path, small_tables, dask_session):
    where = tmp_path / "w"
    config = job(where, dask_session, name="ease_text")
    config = config.model_copy(update={"transform": TransformConfig(standardize=True)})
    rows = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    run(config, interactions=small_tables[0], items=small_tables[1], embeddings=rows)
    (file,) = where.glob("transforms/*/c/0/0")
    sound = file.read_bytes()
    spoil(file, "missing")
    with pytest.raises(DamagedTileError):
        transform_rows(rows, file.parts[-4], Workspace.open(where))
    assert verify(where)[0] == 6
    run(config, interactions=small_tables[0], items=small_tables[1], embeddings=rows)
    assert file.read_bytes() == sound
    assert verify(where) == (0, [])


@pytest.mark.dask
def test_damaged_added_items_are_taken_out_by_the_next_run_and_can_be_added_again(
    tmp_path, small_tables, dask_session
):
    where = tmp_path / "w"
    config = job(where, dask_session, name="ease_text")
    rows = np.random.default_rng(0).standard_normal((42, 6)).astype(np.float32)
    source = {"interactions": small_tables[0], "items": small_tables[1], "embeddings": rows[:40]}
    run(config, **source)
    load_model(str(where)).add_items([101, 102], embeddings=rows[40:])
    (file,) = where.glob("added/*/1/rows/c/0/0")
    spoil(file, "flipped bit")
    with pytest.raises(DamagedTileError, match="add them again"):
        load_model(str(where)).add_items([103], embeddings=rows[:1])
    assert [entry["array"] for entry in verify(where)[1]] == [str(file.parents[2].relative_to(where))]
    run(config, **source)
    load_model(str(where)).add_items([101, 102], embeddings=rows[40:])
    assert verify(where) == (0, [])
