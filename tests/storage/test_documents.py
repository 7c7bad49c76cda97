"""Documents and headers that carry their digest, and what is said of one that was edited, cut or emptied."""

import json
import multiprocessing
import pickle
import shutil

import numpy as np
import pytest

from l3ae_dist.data.columns import write_column
from l3ae_dist.errors import DamagedDocumentError, WorkspaceError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.documents import DIGEST, DocumentProblem, opened, sealed
from l3ae_dist.storage.headers import array_header, root_header
from l3ae_dist.storage.mend import damaged_documents, mend_documents
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

CONTENT = {"name": "L3AE", "params": {"reg_x": -100.0, "n": 3}, "odd": [1e-300, None, "\ud800"]}
DAMAGE = {
    "edited": lambda data: data.replace(b"3", b"4"),
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "no JSON": lambda data: b"\x00\xff{",
    "no object": lambda data: b"[1, 2]",
    "without a digest": lambda data: b'{"name": "L3AE"}',
}


def test_a_document_comes_back_without_its_digest_and_blanks_do_not_count():
    data = sealed("model", CONTENT)
    assert opened("model", data) == CONTENT
    assert opened("model", json.dumps(json.loads(data), indent=7).encode()) == CONTENT
    assert len(json.loads(data)[DIGEST]) == 32


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_document_is_a_problem(damage):
    with pytest.raises(DocumentProblem, match=r"is empty|is damaged|has no digest|was changed"):
        opened("model", DAMAGE[damage](sealed("model", CONTENT)))


def test_a_sound_document_in_anothers_place_is_a_problem():
    with pytest.raises(DocumentProblem, match="was changed since it was written"):
        opened("results/b", sealed("results/a", CONTENT))


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_error_names_document_workspace_problem_and_next_step(tmp_path, damage):
    workspace = Workspace.create(tmp_path / "w")
    workspace.write_doc("model", CONTENT)
    path = tmp_path / "w/meta/model.json"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(DamagedDocumentError, match=r"meta/model\.json of .* `l3ae-dist run` with") as error:
        workspace.read_doc("model")
    assert error.value.exit_code == 6
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.path) == (str(error.value), "meta/model.json")


def small_array(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    sizes = {"shape": (10, 7), "chunks": (4, 4), "dtype": "float32"}
    array = ChunkArray.create(workspace, "grams/a", **sizes)
    for i in range(3):
        for j in range(2):
            array.write(i, j, np.full(array.valid_shape(i, j), 10 * i + j, np.float32))
    return workspace, sizes, tmp_path / "w/grams/a/zarr.json"


def test_plain_zarr_reads_headers_with_digests_and_lists_the_groups(tmp_path):
    import zarr

    small_array(tmp_path)
    root = zarr.open_group(tmp_path / "w", mode="r")
    assert root.attrs["l3ae_dist_format"] == 4
    assert root["grams/a"].shape == (10, 7)
    assert (root["grams/a"][4:8, 4:7] == 11).all()
    assert "grams" in dict(root.groups())


def test_headers_are_those_that_zarr_itself_writes(tmp_path):
    import zarr
    from zarr.codecs import Crc32cCodec

    root = zarr.create_group(tmp_path / "z")
    for dtype in ("float32", "float64", "int32", "int64", "uint8", "uint16", "bool", "int8"):
        for shape, chunks in (((5, 3), (2, 3)), ((5,), (2,))):
            path = f"{dtype}{len(shape)}"
            root.create_array(path, shape=shape, chunks=chunks, dtype=dtype, compressors=[Crc32cCodec()],
                              filters=None, fill_value=0)  # fmt: skip
            written = json.loads((tmp_path / "z" / path / "zarr.json").read_bytes())
            assert array_header(shape, chunks, dtype) == written


@pytest.mark.parametrize("damage", [*DAMAGE, "lost"])
def test_a_damaged_header_is_named_and_written_again_from_a_done_mark(tmp_path, damage):
    workspace, _, header = small_array(tmp_path)
    before = header.read_bytes()
    header.unlink() if damage == "lost" else header.write_bytes(DAMAGE[damage](before))
    if damage != "lost":
        with pytest.raises(DamagedDocumentError, match=r"grams/a/zarr\.json of .* writes it again"):
            ChunkArray.open(workspace, "grams/a")
    assert [one.path for one in mend_documents(workspace)] == ["grams/a/zarr.json"]
    assert header.read_bytes() == before
    assert damaged_documents(workspace) == []
    assert len(ChunkArray.open(workspace, "grams/a").done()) == 6


def test_a_header_without_done_marks_of_this_version_is_written_again_with_known_sizes(tmp_path):
    workspace, sizes, header = small_array(tmp_path)
    before = header.read_bytes()
    for mark in (tmp_path / "w/meta/done/grams/a").iterdir():
        mark.write_text("{}")
    header.write_bytes(b"")
    workspace.mark_stage(Stage.GRAM, "a", {}, {})
    mend_documents(workspace)
    assert workspace.stage_done(Stage.GRAM, "a") is None  # the stage that knows the sizes is to run again
    assert len(ChunkArray.create(workspace, "grams/a", **sizes).done()) == 6
    assert header.read_bytes() == before


@pytest.mark.parametrize("damage", [*DAMAGE, "lost"])
def test_the_header_of_the_workspace_is_named_and_written_again(tmp_path, damage):
    workspace, _, _ = small_array(tmp_path)
    header = tmp_path / "w/zarr.json"
    before = header.read_bytes()
    changed = before.replace(b'format": 4', b'format": 5') if damage == "edited" else DAMAGE.get(damage)
    header.unlink() if damage == "lost" else header.write_bytes(
        changed if damage == "edited" else changed(before)
    )
    with pytest.raises(DamagedDocumentError, match=r"zarr\.json of .* `l3ae-dist run` writes it again"):
        Workspace.open(tmp_path / "w")
    assert Workspace.create(tmp_path / "w").format == 4
    assert header.read_bytes() == before
    assert workspace.list_docs("stages") == []


def test_a_workspace_of_the_format_before_opens_and_stays_as_it_is(tmp_path):
    import zarr

    root = zarr.create_group(tmp_path / "w", attributes={"l3ae_dist_format": 3})
    root.create_array("meta", shape=(0,), chunks=(1,), dtype="uint8")
    (tmp_path / "w/meta/model.json").write_text('{"name": "L3AE"}')
    workspace = Workspace.create(tmp_path / "w")
    assert workspace.read_doc("model") == {"name": "L3AE"}
    workspace.write_doc("last_run", {"dataset": "x"})
    assert json.loads((tmp_path / "w/meta/last_run.json").read_bytes()) == {"dataset": "x"}
    small_array(tmp_path)
    assert damaged_documents(workspace) == []
    (tmp_path / "w/zarr.json").write_bytes(b"{")
    assert Workspace.create(tmp_path / "w").format == 3
    (tmp_path / "w/meta/model.json").write_bytes(b"")
    with pytest.raises(DamagedDocumentError, match="is empty"):
        workspace.read_doc("model")


def test_the_format_before_is_recognised_by_its_header_and_not_by_an_edited_number(tmp_path):
    Workspace.create(tmp_path / "w")
    header = tmp_path / "w/zarr.json"
    header.write_bytes(header.read_bytes().replace(b'format": 4', b'format": 3'))
    with pytest.raises(DamagedDocumentError, match="was changed"):
        Workspace.open(tmp_path / "w")
    assert json.loads(header.read_bytes())["attributes"].keys() > root_header(3)["attributes"].keys()


def test_folders_of_others_are_no_damaged_workspaces(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w/zarr.json").write_text("{")
    with pytest.raises(WorkspaceError, match="not a workspace; choose another"):
        Workspace.create(tmp_path / "w")
    assert (tmp_path / "w/zarr.json").read_text() == "{"


@pytest.mark.parametrize("kept", ["a document", "a header", "a done-mark"])
def test_a_workspace_that_lost_its_headers_is_known_by_any_digest_that_is_left(tmp_path, kept):
    workspace, _, header = small_array(tmp_path)
    workspace.write_doc("model", CONTENT)
    left = {
        "a document": [tmp_path / "w/meta/model.json"],
        "a header": [header],
        "a done-mark": [*(tmp_path / "w/meta/done/grams/a").iterdir()],
    }
    for path in [path for path in (tmp_path / "w").rglob("*") if path.is_file()]:
        if path not in left[kept] and path.parent.name != "c":
            path.unlink()
    with pytest.raises(DamagedDocumentError, match=r"zarr\.json of .* is missing; `l3ae-dist run` writes"):
        Workspace.open(tmp_path / "w")
    Workspace.create(tmp_path / "w")
    mend_documents(Workspace.open(tmp_path / "w"))
    assert damaged_documents(Workspace.open(tmp_path / "w")) == []


def test_a_workspace_that_lost_its_bookkeeping_is_refused_until_a_run_writes_it_again(tmp_path):
    small_array(tmp_path)
    shutil.rmtree(tmp_path / "w/meta")
    with pytest.raises(
        DamagedDocumentError, match=r"meta/zarr\.json of .* is missing; `l3ae-dist run` writes"
    ):
        Workspace.open(tmp_path / "w")
    Workspace.create(tmp_path / "w")
    assert Workspace.open(tmp_path / "w").read_doc("model") is None


def test_files_like_those_of_a_workspace_and_without_its_digests_are_those_of_others(tmp_path):
    small_array(tmp_path)
    for path in [path for path in (tmp_path / "w").rglob("*") if path.is_file()]:
        path.unlink() if path.name == "zarr.json" else path.write_bytes(b"{}")
    for mark in [*(tmp_path / "w/meta/done/grams/a").iterdir()]:
        mark.rename(mark.with_name("x" + mark.name))
    (tmp_path / "w/meta/model.json").write_text("{}")
    with pytest.raises(WorkspaceError, match="not empty and not a workspace"):
        Workspace.create(tmp_path / "w")


def test_headers_of_vectors_without_chunks_are_checked_too(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    write_column(workspace, "items/d/title", np.array(["", ""], object))
    workspace.mark_stage(Stage.INGEST, "d", {}, {})
    (tmp_path / "w/items/d/title/bytes/zarr.json").write_bytes(b"{}")
    assert [one.path for one in damaged_documents(workspace)] == ["items/d/title/bytes/zarr.json"]
    mend_documents(workspace)
    assert workspace.stage_done(Stage.INGEST, "d") is None  # who knows the column writes it again
    write_column(workspace, "items/d/title", np.array(["", ""], object))
    assert damaged_documents(workspace) == []


def make_all(where, start):
    start.wait(20)
    workspace = Workspace.create(where)
    for number in range(20):
        ChunkArray.create(workspace, f"a/b/{number}", shape=(8, 8), chunks=(4, 4), dtype="float64")


def test_processes_that_make_one_workspace_and_its_arrays_at_once_do_not_meet(tmp_path):
    spawn = multiprocessing.get_context("fork")
    start = spawn.Barrier(4)
    makers = [spawn.Process(target=make_all, args=(str(tmp_path / "w"), start)) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0] * 4
    workspace = Workspace.open(tmp_path / "w")
    assert all(ChunkArray.open(workspace, f"a/b/{number}").shape == (8, 8) for number in range(20))


def test_a_workspace_that_travels_to_a_worker_stays_durable(tmp_path):
    workspace = Workspace.create(tmp_path / "w", durable=True)
    assert pickle.loads(pickle.dumps(workspace)).blobs.durable
