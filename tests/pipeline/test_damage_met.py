"""A run that meets damage in the middle begins again with its repair, and ends in the undisturbed bits."""

import pandas as pd
import pytest
from small_fits import Stop, fit, stop_in

from l3ae_dist import append
from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage.workspace import Workspace


def spoil(where, pattern):
    (path,) = sorted(where.glob(pattern))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 16
    path.write_bytes(data)
    return path


def arrays(where):
    folders = ("embeddings", "grams", "factors", "semantic", "crosses", "models")
    return {
        path.relative_to(where): path.read_bytes()
        for folder in folders
        for path in sorted((where / folder).rglob("c/*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "pattern",
    ["embeddings/*/c/0/0", "factors/*/*/*/P/c/1/1", "factors/*/*/*/P/c/2/0", "semantic/*/*/*/a/c/1/0", "crosses/*/*/Q/c/2/0"],
)  # fmt: skip
def test_damage_that_another_model_of_the_same_data_meets_is_repaired_in_the_same_run(tmp_path, pattern):
    first, second = {"reg_x": 10}, {"reg_x": 14, "reg_e": 6}
    for name in ("sound", "damaged"):
        fit(tmp_path / name, until=None, **first)
    spoil(tmp_path / "damaged", pattern)
    want = fit(tmp_path / "sound", until=None, **second)
    said = []
    got = fit(tmp_path / "damaged", until=None, on_event=said.append, **second)
    assert got["models"] == want["models"]
    assert arrays(tmp_path / "damaged") == arrays(tmp_path / "sound")


def test_a_chunk_that_was_written_beside_another_is_made_again_where_no_record_is_left_of_both(tmp_path):
    first, second = {"reg_x": 10}, {"reg_x": 14, "reg_e": 6}
    for name in ("sound", "damaged"):
        fit(tmp_path / name, until=None, **first)
    for pattern in ("meta/stages/semantic/*", "semantic/*/*/*/a/c/2/0", "meta/done/semantic/*/*/*/a/2.0.*"):
        (path,) = (tmp_path / "damaged").glob(pattern)
        path.unlink()
    for name in ("sound", "damaged"):
        fit(tmp_path / name, until=None, **second)
    chunk = next((tmp_path / "sound").glob("semantic/*/*/*/a/c/2/0"))
    assert (tmp_path / "damaged" / chunk.relative_to(tmp_path / "sound")).read_bytes() == chunk.read_bytes()
    assert arrays(tmp_path / "damaged") == arrays(tmp_path / "sound")


def test_damage_of_a_first_run_that_was_stopped_is_repaired_by_the_next(tmp_path):
    with pytest.raises(Stop):
        fit(tmp_path / "w", on_event=stop_in("invert"))
    assert Workspace.open(tmp_path / "w").read_doc("model") is None
    (chunk,) = (tmp_path / "w").glob("semantic/*/*/*/V/c/2/0")
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-9])
    assert fit(tmp_path / "w")["models"]
    assert chunk.read_bytes() == whole


@pytest.mark.parametrize("pattern", ["interactions/{}/valid_csr/indices/c/0", "users/{}/ids/c/0"])
def test_a_log_that_is_appended_again_makes_again_what_was_lost_of_it(tmp_path, pattern):
    fit(tmp_path / "w", until=None)
    log = pd.DataFrame({"user_id": [1, 2, 77], "item_id": [3, 4, 5]})
    compute = {"cluster": "synchronous", "threads": 1, "tile_size": 16}
    first = append(tmp_path / "w", log, compute=compute)
    chunk = tmp_path / "w" / pattern.format(first["append"]["dataset"])
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-9])
    assert verify_workspace(str(tmp_path / "w"), lambda event: None).damage
    again = append(tmp_path / "w", log, compute=compute)
    assert again["append"]["already"]
    assert chunk.read_bytes() == whole
    assert again["model"]["name"] == first["model"]["name"]
    assert verify_workspace(str(tmp_path / "w"), lambda event: None).damage == []


def test_damage_without_a_source_is_still_named(tmp_path):
    from l3ae_dist import make_config, run

    fit(tmp_path / "w", until="embed")
    spoil(tmp_path / "w", "embeddings/*/c/0/0")
    compute = {"cluster": "synchronous", "threads": 1, "tile_size": 16}
    config = make_config(
        {
            "workspace": str(tmp_path / "w"),
            "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
            "compute": compute,
        }
    )
    with pytest.raises((StageMissingError, DamagedTileError), match="embeddings"):
        run(config)
    assert Workspace.open(tmp_path / "w").read_doc("model") is None
