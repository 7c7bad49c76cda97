"""Tiles that are missing, cut short, empty or have a flipped bit, and what killed writers leave behind."""

import json
import shutil

import pytest
from job import (
    LOWER,
    SIDE,
    Command,
    artifacts,
    assert_same_bits,
    configuration,
    damage,
    settings,
    write_config,
)
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.dask]

ARRAYS = {
    "gram": ("grams/*", 5, 2),
    "L": ("factors/*/*/*/L", 9, 4),
    "Linv": ("factors/*/*/*/Linv", 9, 4),
    "P": ("factors/*/*/*/P", 9, 4),
    "diagonal": ("factors/*/*/*/diagonal", 7, 0),
    "V": ("semantic/*/*/*/V", 7, 0),
    "a": ("semantic/*/*/*/a", 7, 0),
    "Q": ("crosses/*/*/Q", 7, 0),
    "embeddings": ("embeddings/*", 0, 0),
}


def spoil(path, kind):
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
        return
    if kind == "flipped bit":
        data[len(data) // 3] ^= 16
    path.write_bytes({"truncated": data[:-7], "empty": b""}.get(kind, data))


def chunk_of(where, name):
    """Array path relative to the workspace, chunk, and file of the tile that the tests damage."""
    pattern, i, j = ARRAYS[name]
    (array,) = (path for path in where.glob(pattern) if (path / "c").is_dir())
    return str(array.relative_to(where)), i, j, array / "c" / str(i) / str(j)


@pytest.fixture
def copy(tmp_path, undisturbed):
    """A complete workspace with L and Linv kept, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "w")


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty", "flipped bit"])
@pytest.mark.parametrize("name", ["gram", "L", "Linv", "P", "embeddings"])
def test_damage_is_listed_by_verify_and_the_next_run_makes_just_that_tile_again(
    copy, inputs, undisturbed, on_cluster, record, name, kind
):
    path, i, j, file = chunk_of(copy, name)
    spoil(file, kind)
    checked = CliRunner().invoke(cli.app, ["verify", str(copy), "--json"])
    assert checked.exit_code == DamagedTileError.exit_code
    (problem,) = json.loads(checked.stdout)["damage"]
    assert (problem["array"], problem["i"], problem["j"]) == (path, i, j)
    assert f"chunk ({i}, {j}) of {path}" in problem["problem"]
    events = []
    config = configuration(inputs, copy, keep=["L", "Linv"], **on_cluster)
    result = run(config, until="fit", on_event=events.append)
    assert not result["reused"]
    assert [(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "bad_tile"] == [(path, i, j)]
    made = [] if name == "embeddings" else [(path, i, j)]  # an import is the client's own work
    assert without_scratch(record.written()) == made
    assert_same_bits(copy, undisturbed)
    assert run(config, until="fit")["reused"]


def without_scratch(chunks):
    return [chunk for chunk in chunks if chunk[0].rsplit("/", 1)[1] not in ("probe", "image")]


def test_damage_of_what_follows_from_the_inverse_is_repaired_too(
    copy, inputs, undisturbed, on_cluster, record
):
    names = ("diagonal", "V", "a", "Q")
    damaged = [chunk_of(copy, name) for name in names]
    for *_, file in damaged:
        spoil(file, "flipped bit")
    assert damage(copy) == sorted((path, i, j) for path, i, j, _ in damaged)
    config = configuration(inputs, copy, keep=["L", "Linv"], **on_cluster)
    run(config, until="fit")
    assert sorted(without_scratch(record.written())) == sorted((path, i, j) for path, i, j, _ in damaged)
    assert_same_bits(copy, undisturbed)


def test_a_damaged_tile_met_by_a_recommendation_is_named_and_repaired_by_the_next_run(
    copy, inputs, undisturbed, on_cluster
):
    path, i, j, file = chunk_of(copy, "P")
    spoil(file, "flipped bit")
    model = load_model(str(copy))
    with pytest.raises(DamagedTileError, match=rf"chunk \({i}, {j}\) of {path}"):
        model.recommend(list(range(200)), n=5)
    run(configuration(inputs, copy, keep=["L", "Linv"], **on_cluster), until="fit")
    assert_same_bits(copy, undisturbed)
    load_model(str(copy)).recommend(list(range(200)), n=5)


@pytest.mark.parametrize("kind", ["missing", "flipped bit"])
@pytest.mark.parametrize(("name", "stage"), [("gram", "factor"), ("L", "linv"), ("Linv", "invert")])
def test_damage_met_in_the_middle_of_a_run_is_repaired_within_it(
    copy, inputs, undisturbed, on_cluster, record, name, stage, kind
):
    """The run was interrupted before ``stage``; since then a tile that this stage reads was damaged."""
    path, i, j, file = chunk_of(copy, name)
    later = {"factor": ["L", "Linv", "P"], "linv": ["Linv", "P"], "invert": ["P"]}[stage]
    base = chunk_of(copy, "P")[0].removesuffix("/P")
    for array in later:
        Workspace.open(copy).delete(f"{base}/{array}")
    for document in ("results", *(f"stages/{s}" for s in ("invert", "certified"))):
        shutil.rmtree(copy / "meta" / document)
    for array, owner in (("L", "factor"), ("Linv", "linv")):
        if array in later:
            shutil.rmtree(copy / "meta" / "stages" / owner)
    spoil(file, kind)
    run(configuration(inputs, copy, keep=["L", "Linv"], **on_cluster), until="fit")
    written = record.written("L", "Linv", "P") + [chunk for chunk in record.written() if chunk[0] == path]
    assert (path, i, j) in written
    assert len(set(written)) == LOWER * len(later) + 1
    assert_same_bits(copy, undisturbed)


@pytest.mark.parametrize("kind", ["missing", "flipped bit"])
def test_without_its_inputs_a_damaged_inverse_names_the_earliest_stage_to_redo(
    tmp_path, inputs, undisturbed, lean, on_cluster, record, kind
):
    where = shutil.copytree(lean, tmp_path / "w")
    path, i, j, file = chunk_of(where, "P")
    spoil(file, kind)
    assert damage(where) == [(path, i, j)]
    events = []
    run(configuration(inputs, where, **on_cluster), until="fit", on_event=events.append)
    said = [event["message"] for event in events if event["kind"] == "log"]
    (sentence,) = [text for text in said if "earliest stage to redo" in text]
    assert "is factor" in sentence
    assert "compute.keep" in sentence
    assert record.written("P") == [(path, i, j)]
    assert len(record.written("L")) == len(record.written("Linv")) == LOWER
    assert record.written("gram", path) == []
    assert_same_bits(where, lean)


@pytest.fixture(scope="module")
def lean(tmp_path_factory, inputs, cluster):
    """A complete workspace of which L and Linv were deleted, as by default."""
    where = tmp_path_factory.mktemp("lean") / "w"
    address = cluster.client.scheduler.address
    run(configuration(inputs, where, cluster="address", address=address), until="fit")
    return where


def test_damaged_embeddings_without_a_source_name_what_to_give(copy, on_cluster):
    *_, file = chunk_of(copy, "embeddings")
    spoil(file, "truncated")
    assert len(damage(copy)) == 1
    values = settings(copy, copy, keep=["L", "Linv"], **on_cluster)
    del values["data"]
    from l3ae_dist.config.load import make_config

    with pytest.raises(StageMissingError, match=r"give the embeddings \(data\.embeddings\)"):
        run(make_config(values), until="fit")


def test_a_lost_array_is_damage_too_and_is_made_again(copy, inputs, undisturbed, on_cluster, record):
    path, *_ = chunk_of(copy, "Linv")
    shutil.rmtree(copy / path)
    assert damage(copy) == [(path, -1, -1)]
    run(configuration(inputs, copy, keep=["L", "Linv"], **on_cluster), until="fit")
    assert {chunk[0] for chunk in without_scratch(record.written())} == {path}
    assert_same_bits(copy, undisturbed)


@pytest.mark.parametrize("name", ["gram", "L", "Linv", "P", "embeddings"])
def test_partial_files_of_killed_writers_are_harmless(copy, inputs, undisturbed, on_cluster, record, name):
    path, i, j, file = chunk_of(copy, name)
    remains = [
        file.with_name(f"{j}.{'0' * 32}.partial"),
        file.with_name(f"{SIDE + 3}.{'1' * 32}.partial"),
        copy / "meta" / "done" / path / f"{i}.{j}.00000000.{'2' * 32}.partial",
    ]
    for leftover in remains:
        leftover.write_bytes(b"half a tile")
    assert damage(copy) == []
    file.unlink()
    assert damage(copy) == [(path, i, j)]
    run(configuration(inputs, copy, keep=["L", "Linv"], **on_cluster), until="fit")
    assert len(without_scratch(record.written())) <= 1
    assert_same_bits(copy, undisturbed)
    assert len(artifacts(copy)) == len(artifacts(undisturbed))


def test_verify_and_run_of_the_command_line_agree_on_a_damaged_workspace(copy, inputs, undisturbed, tmp_path):
    """The two commands a user types, in processes of their own."""
    path, i, j, file = chunk_of(copy, "L")
    spoil(file, "flipped bit")
    config = write_config(tmp_path / "job.yaml", settings(inputs, copy, keep=["L", "Linv"], workers=2))
    code, out, _ = Command("verify", copy).finish()
    assert code == 6
    assert f"chunk ({i}, {j}) of {path}" in out
    assert "1 damaged chunks" in out
    code, _, err = Command("fit", config).finish()
    assert code == 0, err
    assert f"tile ({i}, {j}) of {path} is damaged; made again" in err
    assert Command("verify", copy).finish()[0] == 0
    assert_same_bits(copy, undisturbed)
