"""L and Linv in memory alone: the same bits, nothing written that has room, and no kill or loss goes unseen."""

import gc
import os
import signal

import numpy as np
import pandas as pd
import pytest
from memory_solves import LOWER, SMALLEST, TILE, Watch, inverse, marks, recorded, solve, sound
from small_fits import N, Stop, stop_in, tables

from l3ae_dist.config.load import make_config
from l3ae_dist.graphs import tile_memory
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.pipeline.append import append
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.direct_io import ALIGNMENT
from l3ae_dist.storage.done_marks import marked_chunks
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """``P`` of a run that writes L and Linv."""
    where = tmp_path_factory.mktemp("kept") / "w"
    solve(where, "keep")
    return inverse(where)


def test_what_has_room_is_never_written_and_the_bits_are_the_same(tmp_path, kept):
    watch = Watch(tmp_path)
    result = solve(tmp_path, on_event=watch)
    assert watch.written == {}
    assert set().union(*watch.claimed) == set()
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert [result["stages"][stage]["bytes_written"] for stage in (Stage.FACTOR, Stage.LINV)] == [0, 0]
    assert recorded(tmp_path) == set(TILE_STAGES)
    assert sound(tmp_path)
    (said,) = [one for one in watch.said if "stay in memory" in one]
    assert "a kill before P is complete costs up to" in said


@pytest.mark.parametrize("spare", [0, 7, LOWER + 4])
def test_what_has_no_room_is_written_and_the_bits_are_the_same(tmp_path, kept, spare):
    watch = Watch(tmp_path)
    result = solve(tmp_path, on_event=watch, memory_budget=SMALLEST + spare * ALIGNMENT)
    assert len(watch.written.get("L", ())) == max(0, LOWER - spare)
    assert len(watch.written["Linv"]) == LOWER - max(0, spare - LOWER)
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert marks(tmp_path) == {}
    assert sound(tmp_path)
    planned = {stage["name"]: stage for stage in result["plan"]["stages"]}
    for stage in TILE_STAGES:
        found, size = result["stages"][stage], TILE * TILE * 4
        assert found["bytes_written"] // (size + 4) == planned[stage]["bytes_written"] // size
        read = planned[stage]["bytes_read"] // size
        assert found["bytes_read"] // (size + 4) == pytest.approx(read, rel=0.1, abs=3)


@pytest.mark.parametrize(("again", "spare"), [("memory", 3), ("keep", 10**4)])
@pytest.mark.parametrize("stage", [*TILE_STAGES, Stage.CERTIFY])
def test_a_run_that_ends_in_the_middle_leaves_nothing_that_looks_complete(
    tmp_path, kept, stage, again, spare
):
    budget = {"memory_budget": SMALLEST + spare * ALIGNMENT}
    with pytest.raises(Stop):
        solve(tmp_path, on_event=stop_in(stage), **budget)
    tile_memory.give_up_tiles()  # as its process would have
    if stage == Stage.CERTIFY:
        assert recorded(tmp_path) == set(TILE_STAGES)
    else:  # where L takes all of the room, Linv is written, and complete
        assert recorded(tmp_path) <= ({Stage.LINV} if spare == 3 and stage == Stage.INVERT else set())
    assert sound(tmp_path)
    workspace_status(str(tmp_path))
    before = marks(tmp_path)
    watch = Watch(tmp_path)
    solve(tmp_path, again, on_event=watch, **budget)
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert stage == Stage.CERTIFY or all(chunks <= watch.written[name] for name, chunks in before.items())
    assert recorded(tmp_path) == set(TILE_STAGES)
    assert sound(tmp_path)


@pytest.mark.parametrize(
    ("stage", "names"), [(Stage.FACTOR, "L"), (Stage.LINV, "L and Linv"), (Stage.INVERT, "L and Linv"), (Stage.CERTIFY, "")]
)  # fmt: skip
def test_an_interruption_says_which_tiles_are_lost(tmp_path, stage, names):
    def interrupt(event):
        if event["kind"] == "tile" and event["stage"] == stage:
            raise KeyboardInterrupt

    for intermediates, lost in (("memory", names), ("keep", "")):
        with pytest.raises(KeyboardInterrupt) as ended:
            solve(tmp_path / intermediates, intermediates, on_event=interrupt)
        (said,) = ended.value.__notes__
        rest = f" but for tiles of {lost} in memory alone, which are made again" if lost else ""
        assert said == f"what was finished is kept{rest}"


def test_tiles_of_an_earlier_run_in_the_same_process_are_not_used(tmp_path, kept):
    with pytest.raises(Stop):
        solve(tmp_path, on_event=stop_in(Stage.INVERT))
    computed = []
    solve(tmp_path, on_event=lambda event: event["kind"] == "tile" and computed.append(event["stage"]))
    assert computed.count(Stage.FACTOR) == computed.count(Stage.LINV) == LOWER
    np.testing.assert_array_equal(inverse(tmp_path), kept)


@pytest.mark.parametrize("spare", [LOWER + 3, 10**4])
@pytest.mark.parametrize("stage", TILE_STAGES)
def test_tiles_that_a_worker_loses_are_made_again_and_written(tmp_path, kept, stage, spare):
    lost = []

    def lose(event):
        if event["kind"] == "tile" and event["stage"] == stage and event["done"] == 2 and not lost:
            lost.append(stage)
            tile_memory.give_up_tiles()

    watch = Watch(tmp_path, lose)
    result = solve(tmp_path, on_event=watch, memory_budget=SMALLEST + spare * ALIGNMENT)
    assert result["plan"]["in_memory"] == []
    assert result["plan"]["intermediates"].startswith("L and Linv are written after tiles in memory had to")
    assert "was kept in memory alone" in result["plan"]["intermediates"]
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    (said,) = [one for one in watch.said if "made again" in one]
    assert "was kept in memory alone" in said
    assert len(watch.written["Linv"]) == LOWER
    assert not list(Workspace.open(tmp_path).blobs.list("meta/bad"))
    assert sound(tmp_path)


@pytest.mark.parametrize("name", ["L", "Linv"])
def test_a_written_tile_that_is_damaged_or_gone_is_made_again(tmp_path, kept, name):
    for how in ("damage", "cut", "delete"):
        where, harmed = tmp_path / how, []

        def harm(event, how=how, where=where, harmed=harmed):
            after = Stage.LINV if name == "L" else Stage.INVERT
            if event["kind"] != "stage_start" or event["stage"] != after or harmed:
                return
            workspace = Workspace.open(where)
            (path,) = [path for path in marked_chunks(workspace.blobs) if path.endswith(f"/{name}")]
            array = ChunkArray.open(workspace, path)
            i, j = max(array.marked())
            harmed.append((i, j))
            chunk = where / array._key(i, j)
            if how == "delete":
                chunk.unlink()
            elif how == "cut":
                chunk.write_bytes(chunk.read_bytes()[:-9])
            else:
                content = bytearray(chunk.read_bytes())
                content[5] ^= 1
                chunk.write_bytes(content)

        watch = Watch(where, harm)
        solve(where, on_event=watch, memory_budget=SMALLEST + 3 * ALIGNMENT)
        assert harmed
        assert not [one for one in watch.said if "kept in memory alone" in one]
        assert [one for one in watch.said if "is damaged and will be made again" in one]
        np.testing.assert_array_equal(inverse(where), kept)
        assert sound(where)


@pytest.mark.parametrize(
    ("complete", "unrecorded"),
    [(Stage.INVERT, (Stage.FACTOR, Stage.LINV)), (Stage.LINV, (Stage.FACTOR,))],
)
def test_a_run_that_ends_between_two_records_makes_nothing_again(tmp_path, kept, complete, unrecorded):
    """What is made from L is complete, and L, of which some tiles were written, is not yet deleted."""
    budget = {"memory_budget": SMALLEST + 3 * ALIGNMENT}
    with pytest.raises(Stop):
        solve(
            tmp_path, on_event=stop_in(Stage.CERTIFY if complete == Stage.INVERT else Stage.INVERT), **budget
        )
    workspace = Workspace.open(tmp_path)
    (factor,) = [record.id for record in workspace.stage_records() if record.stage == complete]
    for stage in unrecorded:
        workspace.reopen_stage(stage, factor)
    (path,) = [path for path in marked_chunks(workspace.blobs) if path.endswith("/Linv")]
    left = ChunkArray.create(
        workspace, path.removesuffix("inv"), shape=(N, N), chunks=(TILE, TILE), dtype="float32"
    )
    left.write(0, 0, np.ones((TILE, TILE), np.float32))
    computed = []
    solve(
        tmp_path, on_event=lambda event: event["kind"] == "tile" and computed.append(event["stage"]), **budget
    )
    assert not {Stage.FACTOR, Stage.LINV, complete}.intersection(computed)
    assert recorded(tmp_path) == set(TILE_STAGES)
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert sound(tmp_path)


@pytest.mark.parametrize("name", ["L", "Linv"])
def test_what_is_to_be_kept_is_written(tmp_path, kept, name):
    solve(tmp_path, keep=[name])
    assert {one: len(chunks) for one, chunks in marks(tmp_path).items()} == {name: LOWER}
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert sound(tmp_path)


def test_garbage_and_a_damaged_inverse_after_a_run_in_memory(tmp_path, kept):
    solve(tmp_path)
    collect_garbage(str(tmp_path))
    array = Workspace.open(tmp_path).inverse
    chunk = tmp_path / array._key(3, 1)
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(content)
    assert not sound(tmp_path)
    solve(tmp_path)
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    assert sound(tmp_path)


def test_an_append_goes_on_from_a_run_that_was_stopped_with_tiles_in_memory(tmp_path):
    """The model is fitted again for data that were appended, once begun in memory, and the workspace swept."""
    found = []
    new = pd.DataFrame({"user_id": [1, 2, 70, 70], "item_id": [3, 39, 1, 30]})
    for intermediates in ("keep", "memory"):
        where = tmp_path / intermediates
        solve(where, intermediates)
        compute = {"cluster": "synchronous", "threads": 1, "intermediates": intermediates}
        if intermediates == "memory":
            with pytest.raises(Stop):
                append(str(where), new, compute=compute, on_event=stop_in(Stage.LINV))
            assert sound(where)
            collect_garbage(str(where))
        append(str(where), new, compute=compute)
        assert marks(where) == {}
        assert sound(where)
        found.append(inverse(where))
    np.testing.assert_array_equal(*found)


def test_a_search_over_ridges_and_both_systems_of_a_direct_route_are_the_same(tmp_path):
    found = []
    for intermediates in ("keep", "memory"):
        where = tmp_path / intermediates
        log, items, rows = tables()
        compute = {
            "cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": TILE,
            "intermediates": intermediates, "semantic_route": "direct",
        }  # fmt: skip
        config = make_config(
            {
                "workspace": str(where),
                "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
                "evaluate": {"ks": [3]},
                "compute": compute,
                "grid": {"ridges": [5, 20], "reg_f": [5]},
            }
        )
        result = run(config, interactions=log, items=items, embeddings=rows)
        found.append(result["models"])
        assert sound(where)
        assert marks(where) == {}
    assert found[0] == found[1]


@pytest.mark.dask
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", [Stage.FACTOR, Stage.INVERT])
def test_a_killed_worker_costs_the_stages_and_the_bits_stay(tmp_path, kept, stage, caplog):
    killed = []

    def kill(event):
        if event["kind"] == "tile" and event["stage"] == stage and event["done"] >= 3 and not killed:
            killed.append(event["pid"])
            os.kill(event["pid"], signal.SIGKILL)

    watch = Watch(tmp_path, kill)
    solve(tmp_path, on_event=watch, cluster="local", dashboard=False, memory_budget=2**29)
    assert killed
    np.testing.assert_array_equal(inverse(tmp_path), kept)
    (said,) = [one for one in watch.said if "made again" in one]
    assert "was kept in memory alone" in said
    assert len(watch.written["Linv"]) == LOWER
    assert sound(tmp_path)
    gc.collect()
    assert not [line for line in caplog.messages if "never retrieved" in line]
