"""Runs with copies of tiles on a local disk: the bits of a run without, and nothing left on the disk."""

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist.errors import ConfigError
from l3ae_dist.storage.tier_pace import TierPace

ITEMS = 700


def log():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"user_id": rng.integers(0, 900, 9000), "item_id": rng.integers(0, ITEMS, 9000)})


def fit(where, **compute):
    """A fit whose workers have room for few tiles."""
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "data": {"options": {"split": "none"}},
        "model": {"name": "ease", "reg_x": 50.0},
        "compute": {"cluster": "synchronous", "threads": 1, "memory_budget": "1GiB", "tile_size": 32,
                    "block": 1, "dtype": "float32", "intermediates": "keep", **compute},
    })  # fmt: skip
    return l3ae_dist.run(config, interactions=log(), until="fit")


def test_a_run_with_copies_gives_the_same_bits_and_leaves_nothing(tmp_path, monkeypatch):
    (disk := tmp_path / "disk").mkdir()
    monkeypatch.setattr("l3ae_dist.storage.tile_reader.TileReader.resize", lambda self, cache_bytes: None)
    monkeypatch.setattr(TierPace, "prefers_copies", lambda self: True)
    monkeypatch.setattr(TierPace, "copies_are_quicker", lambda self: True)
    without = fit(tmp_path / "without")
    result = fit(tmp_path / "with", local_directory=str(disk), local_size="1MiB")
    copies = [result["stages"][name]["bytes_from_copies"] for name in ("factor", "linv", "invert")]
    assert all(copies)
    assert all(stage["bytes_from_copies"] == 0 for stage in without["stages"].values())
    read = [sum(stage["bytes_read"] for stage in one["stages"].values()) for one in (result, without)]
    assert read[0] < read[1]
    made, wanted = (l3ae_dist.load_model(tmp_path / one).weights([0, 5]) for one in ("with", "without"))
    np.testing.assert_array_equal(made, wanted)
    assert not list(disk.iterdir())


def test_a_directory_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"compute\.local_directory is .*name a folder that every worker"):
        fit(tmp_path / "w", local_directory=str(tmp_path / "nowhere"))
