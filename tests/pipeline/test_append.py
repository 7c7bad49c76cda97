"""Appending to a fitted model against a fit of everything from scratch, with the same tiles."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist import EASE, GFCF, L3AE, AdditiveEASE, CollectiveEASE, L3AECollective
from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.append import append_interactions
from l3ae_dist.data.changes import touched_tiles
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import DataError, StageMissingError
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.model.fitted import load_model
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask
TILE = 8


def compute(session, **more):
    address = session.client.scheduler.address
    return {"cluster": "address", "address": address, "dtype": "float64", "tile_size": TILE,
            "memory_budget": "1GiB", **more}  # fmt: skip


def text(n, d=6, seed=0):
    f = np.random.default_rng(seed).standard_normal((n, d))
    return (f / np.linalg.norm(f, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def logs():
    """Users stay within blocks of items, but for a few; the new log touches some blocks only."""
    rng = np.random.default_rng(7)
    pairs = {
        (u, 8 * int(b) + int(i))
        for u in range(80)
        for b in ([u % 5] if u % 11 else [u % 5, (u + 1) % 5])
        for i in rng.choice(8, 3, replace=False)
    }
    old = pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"])
    new = pd.DataFrame({"user_id": [0, 5, 5, 200, 200], "item_id": [1, 2, 3, 4, 33]})
    items = pd.DataFrame({"item_id": range(40), "text": [f"thing {i} of {i % 7}" for i in range(40)]})
    return old, new, items


def tiles(where, name):
    """Every lower tile of an array of the current model, as stored."""
    model = load_model(where)
    array = model.array(name)
    return {(i, j): array.read(i, j) for i in range(array.grid[0]) for j in range(i + 1)}


def same_model(where, other):
    """Gram, inverse and B, bit by bit."""
    for name in ("gram", "P"):
        one, two = tiles(where, name), tiles(other, name)
        assert one.keys() == two.keys()
        for chunk, tile in one.items():
            np.testing.assert_array_equal(tile, two[chunk])
    one, two = (load_model(path) for path in (where, other))
    ids = one.dataset.item_ids().tolist()
    assert ids == two.dataset.item_ids().tolist()
    some = ids[:: max(1, len(ids) // 40)]
    np.testing.assert_array_equal(one.weights(some), two.weights(some))


def written(events, stage="gram"):
    return {
        (e["i"], e["j"]) for e in events if e["kind"] == "tile" and e["stage"] == stage and not e["skipped"]
    }


def test_an_appended_model_equals_a_fit_from_scratch_and_computes_the_touched_tiles_alone(
    tmp_path, logs, dask_session
):
    old, new, items = logs
    where, other, f = str(tmp_path / "a"), str(tmp_path / "b"), text(40)
    settings = {"reg_x": -5.0, "reg_e": 20.0, "compute": compute(dask_session)}
    model = L3AE(**settings).fit(old, items, workspace=where, embeddings=f)
    first = load_model(where)
    embeddings = set(Workspace.open(where).blobs.list("embeddings"))
    events = []
    result = l3ae_dist.append(where, new, compute=compute(dask_session), on_event=events.append)
    L3AE(**settings).fit(pd.concat([old, new]), items, workspace=other, embeddings=f)
    same_model(where, other)

    child = load_model(where).dataset
    touched = touched_tiles(first.dataset, child, TileGrid(40, TILE))
    want = {(i, j) for i in range(5) for j in range(i + 1) if touched[i, j]}
    assert written(events) == want
    assert 0 < len(want) < 15
    report = result["append"]
    assert (report["gram_tiles_computed"], report["gram_tiles"]) == (len(want), 15)
    assert (report["interactions"], report["users"], report["items"]) == (5 - report["known"], 1, 0)
    assert report["parent"] == first.dataset.id
    assert child.stats.parent == first.dataset.id
    # nothing is embedded, and the semantic phase is the one that was there
    assert set(Workspace.open(where).blobs.list("embeddings")) == embeddings
    assert not any(e.get("stage") == "embed" and e["kind"] == "chunk" for e in events)
    # linked, not copied: the same bytes on disk
    arrays = [tmp_path / "a" / each.array("gram").path / "c" for each in (first, load_model(where))]
    linked = {
        (i, j) for i in range(5) for j in range(i + 1)
        if (arrays[0] / f"{i}/{j}").samefile(arrays[1] / f"{i}/{j}")
    }  # fmt: skip
    assert linked == {(i, j) for i in range(5) for j in range(i + 1)} - want
    # the model before is still there and reads its own arrays
    np.testing.assert_array_equal(first.weights([3]), model.model_.weights([3]))


def test_a_repeated_append_is_a_no_op_and_appends_follow_each_other(tmp_path, logs, dask_session):
    old, new, items = logs
    where = str(tmp_path / "w")
    model = EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    assert model.append(new) is model
    assert model.result_["append"]["already"] is False
    ids = model.model_.dataset.id
    ws = Workspace.open(where)
    before = sorted(ws.blobs.list(""))
    events = []
    again = l3ae_dist.append(where, new, on_event=events.append)
    assert again["append"]["already"]
    assert (again["tiles_written"], again["reused"], events) == (0, True, [])
    assert sorted(ws.blobs.list("")) == before
    more = pd.DataFrame({"user_id": [0, 3], "item_id": [39, 38]})
    third = load_model(where, memory_budget="512MiB", threads=1).append(more, compute=compute(dask_session))
    assert (third.memory_budget, third.threads) == (2**29, 1)
    assert third.dataset.stats.parent == ids
    assert l3ae_dist.append(where, new)["append"]["already"]
    other = str(tmp_path / "b")
    EASE(10.0, compute=compute(dask_session)).fit(pd.concat([old, new, more]), items, workspace=other)
    same_model(where, other)
    assert (
        third.recommend([200], 3).item_id.tolist() == load_model(other).recommend([200], 3).item_id.tolist()
    )


def test_new_items_come_last_and_need_embeddings_of_their_own_alone(tmp_path, logs, dask_session):
    """36 items, of tiles of 8 the last is ragged: it grows, and another follows."""
    old, new, items = logs
    where, other, f = str(tmp_path / "a"), str(tmp_path / "b"), text(45)
    more = pd.DataFrame({"item_id": range(36, 45), "text": [f"new {i}" for i in range(36, 45)]})
    old = old[old.item_id < 36]
    log = pd.concat([new, pd.DataFrame({"user_id": [1, 1, 300], "item_id": [44, 39, 36]})])
    settings = {"reg_x": 10.0, "reg_e": 10.0, "compute": compute(dask_session)}
    L3AE(**settings).fit(old, items.head(36), workspace=where, embeddings=f[:36])
    with pytest.raises(DataError, match=r"9 new item\(s\) are missing; give their rows"):
        l3ae_dist.append(where, log, more, compute=compute(dask_session))
    spoilt = f[36:].copy()
    spoilt[4, 0] = np.nan
    with pytest.raises(DataError, match="rows 4 hold NaN"):
        l3ae_dist.append(where, log, more, embeddings=spoilt, compute=compute(dask_session))
    with pytest.raises(DataError, match="5 dimensions"):
        l3ae_dist.append(where, log, more, embeddings=f[36:, :5], compute=compute(dask_session))
    events = []
    result = l3ae_dist.append(
        where, log, more, embeddings=f[36:], compute=compute(dask_session), on_event=events.append
    )
    union = pd.concat([items.head(36), more])
    L3AE(**settings).fit(pd.concat([old, log]), union, workspace=other, embeddings=f)
    same_model(where, other)
    assert result["append"]["items"] == 9
    assert result["append"]["gram_tiles"] == 21
    assert len(written(events)) == result["append"]["gram_tiles_computed"] < 21
    ws = Workspace.open(where)
    # what was made on the way is gone: the parent's embeddings and the child's remain
    assert len(ws.list_docs("stages/embed")) == 2
    assert len(ws.list_docs("stages/ingest")) == 2


@pytest.mark.ray
def test_only_new_items_are_embedded(tmp_path, logs, dask_session, ray_cluster):
    from l3ae_dist.config.embedding import EncoderConfig
    from l3ae_dist.embed.encoders import load_encoder

    old, new, items = logs
    where, other = str(tmp_path / "a"), str(tmp_path / "b")
    old, settings = old[old.item_id < 37], {"reg_x": 10.0, "reg_e": 10.0, "compute": compute(dask_session)}
    encoder = {"rows_per_chunk": 16}
    L3AE(**settings, encoder=encoder).fit(old, items.head(37), workspace=where)
    before = load_model(where).array("F")
    events = []
    l3ae_dist.append(where, new, items, compute=compute(dask_session), on_event=events.append)
    assert [e["rows"] for e in events if e["kind"] == "chunk"] == [3]
    after = load_model(where).array("F")
    f = np.concatenate([after.read(i, 0) for i in range(3)])
    np.testing.assert_array_equal(f[:37], np.concatenate([before.read(i, 0) for i in range(3)]))
    want = load_encoder(EncoderConfig(**encoder)).encode(items.text[37:].tolist())
    np.testing.assert_allclose(f[37:], want, atol=1e-6)
    L3AE(**settings).fit(pd.concat([old, new]), items, workspace=other, embeddings=f)
    same_model(where, other)
    with pytest.raises(DataError, match="no column 'text'"):
        l3ae_dist.append(where, new.head(1), pd.DataFrame({"item_id": [99]}), compute=compute(dask_session))


MEMBERS = {
    "collective, embeddings": (L3AECollective, {"reg_x": 5.0, "alpha": 2.0}, True, 0),
    "collective, words": (CollectiveEASE, {"reg_x": 5.0}, False, 0),
    "collective, larger catalog": (L3AECollective, {"reg_x": 5.0, "alpha": 2.0}, True, 4),
    "collective, words of a larger catalog": (CollectiveEASE, {"reg_x": 5.0}, False, 4),
    "additive": (AdditiveEASE, {"reg_x": 5.0, "reg_f": 3.0}, False, 4),
    "direct": (L3AE, {"reg_x": 5.0, "reg_e": 20.0}, True, 4),
    "spectral": (GFCF, {"rank": 5}, False, 0),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_of_the_family_appends(tmp_path, logs, dask_session, name):
    kind, params, given, grown = MEMBERS[name]
    old, new, items = logs
    n = 40 - grown
    old = old[old.item_id < n]
    log = pd.concat([new, pd.DataFrame({"user_id": [7], "item_id": [39]})])
    where, other, f = str(tmp_path / "a"), str(tmp_path / "b"), text(40)
    route = "direct" if name == "direct" else "auto"
    settings = compute(dask_session, tile_size=16, semantic_route=route)
    make = lambda: kind(**params, compute=settings)  # noqa: E731
    make().fit(old, items.head(n), workspace=where, **({"embeddings": f[:n]} if given else {}))
    rows = {"embeddings": f[n:]} if given and grown else {}
    events = []
    result = l3ae_dist.append(
        where, log, items if grown else None, compute=settings, on_event=events.append, **rows
    )
    make().fit(pd.concat([old, log]), items, workspace=other, **({"embeddings": f} if given else {}))
    ids = list(range(40))
    a, b = load_model(where).weights(ids), load_model(other).weights(ids)
    assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()
    report = result["append"]
    everything = name in ("collective, words of a larger catalog", "spectral")
    if report["gram_tiles"]:
        assert (report["gram_tiles_computed"] == report["gram_tiles"]) == everything


def test_a_gram_matrix_that_needs_another_precision_is_computed_whole(tmp_path, logs, dask_session):
    """As if some item had been bought 2^24 times."""
    old, new, items = logs
    where = str(tmp_path / "w")
    EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    ws = Workspace.open(where)
    parent = load_model(where).dataset
    recorded = IngestConfig(**ws.require_stage("ingest", parent.id).params)
    child = append_interactions(parent, new, None, recorded)
    record = ws.require_stage("ingest", child)
    ws.mark_stage("ingest", child, record.params, {**record.stats, "max_popularity": 2**24})
    events = []
    l3ae_dist.append(where, new, compute=compute(dask_session), on_event=events.append)
    assert len(written(events)) == 15
    assert load_model(where).array("gram").dtype == np.float64
    assert any("float64 where float32 was enough" in e.get("message", "") for e in events)
    x = Dataset(ws, child).user_rows("train", 0, 81).toarray()
    np.testing.assert_array_equal(ws.gram.as_dask().compute(scheduler="synchronous"), x.T @ x)


def test_another_tile_size_computes_everything_and_says_so(tmp_path, logs, dask_session):
    old, new, items = logs
    where = str(tmp_path / "w")
    EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    events = []
    settings = compute(dask_session, tile_size=16)
    result = l3ae_dist.append(where, new, compute=settings, on_event=events.append)
    assert result["append"]["gram_tiles_computed"] == result["append"]["gram_tiles"] == 6
    assert any("none in tiles of 16" in e.get("message", "") for e in events)


def test_a_damaged_tile_of_the_parent_is_computed_and_not_taken_over(tmp_path, logs, dask_session):
    old, new, items = logs
    where, other = str(tmp_path / "a"), str(tmp_path / "b")
    EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    gram = load_model(where).array("gram")
    path = tmp_path / "a" / gram.path / "c" / "4" / "2"
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(data)
    events = []
    l3ae_dist.append(where, new, compute=compute(dask_session), on_event=events.append)
    assert (4, 2) in written(events)
    EASE(10.0, compute=compute(dask_session)).fit(pd.concat([old, new]), items, workspace=other)
    same_model(where, other)


def test_what_cannot_be_appended_leaves_the_model_and_the_workspace(tmp_path, logs, dask_session):
    old, new, items = logs
    where = str(tmp_path / "w")
    EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    ws = Workspace.open(where)

    def content():
        return {key: ws.blobs.get(key) for key in ws.blobs.list("") if "lock" not in key}

    before = content()
    for bad in (new.assign(item_id=77), new[["user_id"]], new.head(0)):
        with pytest.raises(DataError):
            l3ae_dist.append(where, bad, compute=compute(dask_session))
        assert content() == before
    with pytest.raises(StageMissingError, match="no fitted model"):
        l3ae_dist.append(Workspace.create(tmp_path / "empty").url, new)


def test_the_command_appends_files_and_says_what_was_new(tmp_path, logs, dask_session):
    old, new, items = logs
    where = str(tmp_path / "w")
    EASE(10.0, compute=compute(dask_session)).fit(old, items, workspace=where)
    new.rename(columns={"item_id": "thing"}).to_csv(tmp_path / "new.csv", index=False)
    address = dask_session.client.scheduler.address

    def call(*more):
        code = "from l3ae_dist.cli.app import main; main()"
        arguments = ["append", where, str(tmp_path / "new.csv"), "--set", f"compute.address={address}"]
        arguments += ["--set", "compute.cluster=address", "--set", "compute.memory_budget=1GiB", *more]
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    failed = call()
    assert failed.returncode == DataError.exit_code
    assert "no column 'item_id'" in failed.stderr
    named = ["--set", "data.options.item_column=thing"]
    done = call(*named, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["append"]
    assert (report["gram_tiles"], report["users"]) == (15, 1)
    assert report["gram_tiles_computed"] < 15
    again = call(*named)
    assert "appended before" in again.stdout


SCRIPT = """
import sys
import numpy as np, pandas as pd
from l3ae_dist import EASE, append

COMPUTE = {"dtype": "float32", "tile_size": 64, "memory_budget": "1GiB", "dashboard": False, "threads": 1}

def tables():
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 2000, 20000), "item_id": rng.integers(0, 640, 20000)})
    new = pd.DataFrame({"user_id": [5, 5, 9000], "item_id": [3, 600, 450]})
    return log, new, pd.DataFrame({"item_id": range(640)})

if __name__ == "__main__":
    append(sys.argv[1], tables()[1], compute=COMPUTE)
"""


def done_tiles(ws, before):
    return set(ws.blobs.list("meta/done/factors")) - before


@pytest.mark.timeout(240)
def test_a_killed_append_goes_on_and_ends_in_the_bits_of_a_fit_from_scratch(tmp_path):
    scope: dict = {"__name__": "job"}
    exec(compile(SCRIPT, "job", "exec"), scope)
    log, new, items = scope["tables"]()
    where, other = str(tmp_path / "killed"), str(tmp_path / "scratch")
    EASE(50.0, compute=scope["COMPUTE"]).fit(log, items, workspace=where)
    ws = Workspace.open(where)
    old, parent = set(ws.blobs.list("meta/done/factors")), load_model(where).dataset.id
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), where], start_new_session=True)
    deadline = time.time() + 120
    while len(done_tiles(ws, old)) < 40 and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = done_tiles(ws, old)
    assert 0 < len(before) < 3 * 10 * 11 // 2
    assert load_model(where).dataset.id == parent  # the model is the old one until the new one is there
    events = []
    result = l3ae_dist.append(where, new, compute=scope["COMPUTE"], on_event=events.append)
    finished = {(key.split("/")[-2], *map(int, key.split("/")[-1].split(".")[:2])) for key in before}
    again = {(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "tile" and not e["skipped"]}
    assert not again & finished
    assert 0 < result["append"]["gram_tiles_computed"] < result["append"]["gram_tiles"] == 55
    EASE(50.0, compute=scope["COMPUTE"]).fit(pd.concat([log, new]), items, workspace=other)
    same_model(where, other)
