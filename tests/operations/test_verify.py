"""A completed stage implies every chunk of its arrays: what is lost whole is named, and made again."""

import json
import shutil

import pytest
from small_fits import fit
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.errors import DamagedTileError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
KEEP = ("L", "Linv")
# the chunk of each array that is lost, by its last file
CHUNKS = {
    "gram": "grams/*/c/1/0",
    "L": "factors/*/*/*/L/c/2/1",
    "P": "factors/*/*/*/P/c/2/0",
    "diagonal": "factors/*/*/*/diagonal/c/1/0",
    "M": "semantic/*/*/*/M/c/0/0",
    "a": "semantic/*/*/*/a/c/1/0",
    "V": "semantic/*/*/*/V/c/2/0",
    "Q": "crosses/*/*/Q/c/1/0",
    "embeddings": "embeddings/*/c/0/0",
    "scores": "scores/*/merged/c/0/0",
    "interactions": "interactions/*/train_csr/indices/c/0",
    "titles": "items/*/ids/c/0",
}
FOLDERS = (
    "grams",
    "factors",
    "semantic",
    "crosses",
    "embeddings",
    "interactions",
    "items",
    "users",
    "scores",
)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    where = tmp_path_factory.mktemp("complete") / "w"
    fit(where, until=None, keep=KEEP)
    return where


@pytest.fixture
def copy(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "w")


def chunks(where):
    """Bytes of every chunk, by its path."""
    files = (path for path in where.rglob("c/**/*") if path.is_file() and "meta" not in path.parts)
    return {str(path.relative_to(where)): path.read_bytes() for path in files}


def lose(where, file):
    """Delete a chunk and its done-mark; returns array and coordinates."""
    name = file.relative_to(where).as_posix()
    path, _, place = name.rpartition("/c/")
    i, j = map(int, (place + "/0").split("/")[:2])
    file.unlink()
    for mark in (where / layout.done_marks(path)).glob(f"{i}.{j}.*"):
        mark.unlink()
    return path, i, j


def verified(where):
    return [(one.array, one.i, one.j) for one in verify_workspace(str(where), lambda event: None).damage]


@pytest.mark.parametrize("name", CHUNKS)
def test_a_chunk_that_is_lost_with_its_mark_is_named_and_made_again(copy, complete, name):
    (file,) = copy.glob(CHUNKS[name])
    array, i, j = lose(copy, file)
    status = workspace_status(str(copy))
    assert [(one.array, one.i, one.j) for one in status.lost] == [(array, i, j)]
    for stage, identifier in layout.makers(array):
        assert identifier not in [record.id for record in status.stages.get(stage, [])]
    if name in ("gram", "Q"):  # the others without it: a run finds out by itself
        assert verified(copy) == [(array, i, j)]
    assert not fit(copy, until=None, keep=KEEP)["reused"]
    assert chunks(copy) == chunks(complete)
    assert verified(copy) == []
    assert fit(copy, until=None, keep=KEEP)["reused"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_is_lost_with_its_marks_is_named_and_made_again(copy, complete, folder):
    arrays = {one.array for one in _lost_by(copy, folder)}
    assert arrays
    assert all(array.startswith(f"{folder}/") for array in arrays)
    assert {array for array, *_ in verified(copy)} == arrays
    assert not fit(copy, until=None, keep=KEEP)["reused"]
    assert chunks(copy) == chunks(complete)
    assert verified(copy) == []


def _lost_by(where, folder):
    shutil.rmtree(where / folder)
    shutil.rmtree(where / layout.done_marks(folder))
    return workspace_status(str(where)).lost


def test_the_commands_name_what_is_lost_in_one_sentence(copy):
    (file,) = copy.glob(CHUNKS["P"])
    array, i, j = lose(copy, file)
    run = CliRunner().invoke(cli.app, ["verify", str(copy), "--json"])
    assert run.exit_code == DamagedTileError.exit_code
    (problem,) = json.loads(run.stdout)["damage"]
    assert problem["problem"] == (
        f"chunk ({i}, {j}) of {array} in {copy} is missing; `l3ae-dist run` repairs it when its inputs are kept."
    )
    shown = CliRunner().invoke(cli.app, ["status", str(copy)]).stdout
    assert f"Lost: chunk ({i}, {j}) of {array}" in shown
    with pytest.raises(
        DamagedTileError, match=rf"chunk \({i}, {j}\) of {array} .* is missing; .l3ae-dist run."
    ):
        load_model(str(copy)).recommend(list(range(60)), n=5)
    _lost_by(copy, "crosses")
    with pytest.raises(DamagedTileError, match=r"crosses/.* is missing .*; .l3ae-dist run."):
        load_model(str(copy)).recommend([1], n=5)


def scale_of(where):
    """Folder of the chunks of ``c`` of the current model."""
    return where / json.loads((where / "meta/model.json").read_bytes())["arrays"]["c"] / "c"


@pytest.mark.parametrize("what", ["chunk", "folder"])
def test_the_vector_of_the_model_is_made_again(copy, complete, what):
    folder = scale_of(copy)
    if what == "chunk":
        lost = [lose(copy, folder / "1" / "0")]
    else:
        lost = [(one.array, -1, -1) for one in _lost_by(copy, "models")]
        assert (folder.parent.relative_to(copy).as_posix(), -1, -1) in lost
    assert verified(copy) == lost
    assert not fit(copy, until=None, keep=KEEP)["reused"]
    for file in scale_of(complete).rglob("0"):
        if file.is_file():
            assert (copy / file.relative_to(complete)).read_bytes() == file.read_bytes()
    assert verified(copy) == []


def test_a_chunk_that_grew_is_found_by_the_next_run(copy, complete):
    file = scale_of(copy) / "2" / "0"
    file.write_bytes(file.read_bytes() + bytes(4))
    assert not fit(copy, until=None, keep=KEEP)["reused"]
    assert chunks(copy) == chunks(complete)


def test_what_was_deleted_on_purpose_is_not_lost(tmp_path):
    where = tmp_path / "w"
    fit(where, until=None)
    grid = {"ridges": [15.0, 30.0], "reg_e": [5.0, 10.0], "reg_f": [5.0]}
    fit(where, until=None, grid=grid)
    assert not list(where.glob("factors/*/*/*/L"))
    assert verified(where) == []
    assert workspace_status(str(where)).lost == []
    assert fit(where, until=None, grid=grid)["reused"]
    collect_garbage(str(where))
    assert verified(where) == []
    assert workspace_status(str(where)).lost == []


def test_records_of_an_older_version_still_imply_their_arrays(copy):
    workspace = Workspace.open(copy)
    for record in workspace.stage_records():
        document = record.document()
        del document["arrays"]
        workspace.write_doc(layout.completed_stage(record.stage, record.id), document)
    assert verified(copy) == []
    (file,) = copy.glob(CHUNKS["Q"])
    lost = lose(copy, file)
    for folder in ("grams", "semantic"):
        _lost_by(copy, folder)
    found = verified(copy)
    assert lost in found
    assert {array.partition("/")[0] for array, *_ in found} == {"crosses", "grams", "semantic"}
