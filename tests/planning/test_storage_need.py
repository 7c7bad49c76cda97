"""The storage that a run needs, told before its tile stages, and refused where the disk has no room."""

import pytest
from small_fits import Stop, fit, stop_in

from l3ae_dist.config.prices import PriceConfig
from l3ae_dist.errors import WorkspaceError
from l3ae_dist.planning import storage_need
from l3ae_dist.planning.storage_need import StorageNeed

pytestmark = pytest.mark.dask


def test_a_disk_without_room_is_refused_before_the_tiles_with_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_need, "free_bytes", lambda workspace: 30_000)
    with pytest.raises(
        WorkspaceError, match=r"at least another 0\.00 GiB of disk at .* are free; free space"
    ):
        fit(tmp_path / "w")
    assert not (tmp_path / "w" / "grams").exists()


def tiles_below(where):
    found = (p for folder in ("grams", "factors") for p in (where / folder).rglob("c/*/*") if p.is_file())
    return sum(p.stat().st_size for p in found if p.parts[-4] in ("L", "Linv", "P") or "grams" in p.parts)


@pytest.mark.parametrize("keep", [(), ("L",), ("L", "Linv")])
def test_the_need_is_what_the_stages_leave_at_their_fullest(tmp_path, keep):
    most = 0

    def measure(event):
        nonlocal most
        if event["kind"] == "tile":
            most = max(most, tiles_below(tmp_path / "w"))

    need = fit(tmp_path / "w", on_event=measure, keep=keep)["storage"]
    assert need["bytes"] == need["missing"] == most
    assert (need["already"], need["cost"]) == (0, None)


@pytest.mark.parametrize("stage", ["gram", "factor", "linv", "invert"])
def test_what_a_killed_run_left_is_not_needed_again(tmp_path, stage):
    whole = fit(tmp_path / "whole")["storage"]
    with pytest.raises(Stop):
        fit(tmp_path / "w", on_event=stop_in(stage))
    left = tiles_below(tmp_path / "w")
    assert left > 0
    need = fit(tmp_path / "w")["storage"]
    assert need["already"] == left
    assert need["bytes"] == whole["bytes"]
    assert need["missing"] == whole["missing"] - left


def test_nothing_is_needed_where_everything_is_there(tmp_path):
    fit(tmp_path / "w")
    need = fit(tmp_path / "w", reg_e=20, reg_x=0)["storage"]  # the same ridge
    assert need["missing"] == 0
    assert need["bytes"] == need["already"] > tiles_below(tmp_path / "w") - 1
    other = fit(tmp_path / "w", reg_e=20)["storage"]  # another ridge, the same Gram matrix
    assert 0 < other["missing"] < other["bytes"]


def test_a_search_keeps_the_best_inverses_beside_the_one_at_work(tmp_path):
    triangle = 6 * (16 * 16 * 8 + 4)
    alone = fit(tmp_path / "alone")["storage"]
    many = fit(tmp_path / "grid", until=None, grid={"ridges": [10, 20, 40, 80], "reg_f": [5], "reg_e": [10]})
    assert many["storage"]["bytes"] == alone["bytes"] + 2 * triangle
    assert many["storage"]["missing"] == alone["missing"]


def test_a_price_is_told_where_prices_are_given(tmp_path):
    need = StorageNeed(already=0, missing=0, bytes=2 * 2**30, objects=10, writes=2000, reads=5000)
    assert need.cost(PriceConfig(storage_gib_month=3.0, per_1000_writes=0.5, per_1000_reads=0.1)) == 7.5
    said = []
    prices = {"storage_gib_month": 1e6, "per_1000_writes": 5.0}
    found = fit(tmp_path / "w", prices=prices,
                on_event=lambda e: said.append(e.get("message", "")) if e["kind"] == "log" else None)  # fmt: skip
    assert found["storage"]["cost"] > 0
    assert any("storage for a month and requests cost about" in message for message in said)
