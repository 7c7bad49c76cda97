"""Tiles stored in one dtype and computed in another, through whole runs in this process."""

import pytest
from small_fits import tables

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError, NumericalError
from l3ae_dist.pipeline.evaluate import evaluate_workspace
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning import decide_arithmetic
from l3ae_dist.runtime.backends import in_process


def settings(where, model=None, **compute):
    given = {"cluster": "synchronous", "threads": 1, "dtype": "float32", "tile_size": 16, **compute}
    model = model or {"reg_x": 10, "reg_f": 5, "reg_e": 10}
    return make_config({"workspace": str(where), "model": model, "compute": given})


def fit(where, model=None, **compute):
    log, items, rows = tables()
    config = settings(where, model, **compute)
    return run(config, interactions=log, items=items, embeddings=rows, until="fit")


def factors(where):
    return sorted(path.name for path in where.glob("factors/*/*/*") if path.is_dir())


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_float64_arithmetic_makes_float32_tiles_of_its_own_which_are_closer(tmp_path, route):
    plain = fit(tmp_path / "w", semantic_route=route)
    wide = fit(tmp_path / "w", semantic_route=route, arithmetic="float64")
    assert set(factors(tmp_path / "w")) == {"float32", "float32-by-float64"}
    certificates = plain["certificate"], wide["certificate"]
    assert [one["arithmetic"] for one in certificates] == ["float32", "float64"]
    assert [one["dtype"] for one in certificates] == ["float32", "float32"]
    assert certificates[1]["residual"] < certificates[0]["residual"]
    assert certificates[1]["tolerance"] == pytest.approx(0.4 * certificates[0]["tolerance"], rel=1e-3)
    assert [one["plan"]["arithmetic"] for one in (plain, wide)] == ["float32", "float64"]


def test_the_arithmetic_of_the_tiles_dtype_keeps_the_addresses_of_earlier_versions(tmp_path):
    fit(tmp_path / "a")
    fit(tmp_path / "b", arithmetic="float32")
    fit(tmp_path / "c", dtype="float64", arithmetic="float64")
    assert [factors(tmp_path / name) for name in "abc"] == [["float32"], ["float32"], ["float64"]]


@pytest.mark.parametrize(("share", "made"), [(0.9, "float32-by-float64"), (0.03, "float32")])
def test_auto_follows_the_measured_devices_and_a_workspace_remembers(tmp_path, monkeypatch, share, made):
    monkeypatch.setattr(decide_arithmetic, "may_use_gpu", lambda compute: True)
    monkeypatch.setattr(in_process, "float64_share", lambda device: ("card", share))
    fit(tmp_path / "w")
    assert factors(tmp_path / "w") == [made]
    monkeypatch.setattr(in_process, "float64_share", lambda device: ("card", 1 - share))
    fit(tmp_path / "w", model={"reg_x": 30, "reg_f": 5, "reg_e": 10})
    assert set(factors(tmp_path / "w")) == {made}
    monkeypatch.setattr(in_process, "float64_share", lambda device: ("other card", 1 - share))
    fit(tmp_path / "w", model={"reg_x": 50, "reg_f": 5, "reg_e": 10})
    assert len(set(factors(tmp_path / "w"))) == 2


def test_processors_are_never_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(in_process, "float64_share", lambda device: pytest.fail("measured"))
    monkeypatch.setattr(decide_arithmetic, "may_use_gpu", lambda compute: True)
    fit(tmp_path / "w", dtype="float64")
    fit(tmp_path / "w", arithmetic="float64")
    monkeypatch.undo()
    monkeypatch.setattr(in_process, "float64_share", lambda device: pytest.fail("measured"))
    fit(tmp_path / "w")
    # float64; float32 computed in float64; float32, with nothing measured
    assert len(set(factors(tmp_path / "w"))) == 3


def test_an_evaluation_reuses_the_tiles_of_a_model_with_its_arithmetic(tmp_path):
    fit(tmp_path / "w", arithmetic="float64")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").glob("factors/**/P/c/*/*")}
    result = evaluate_workspace(settings(tmp_path / "w", dtype="auto"))
    assert before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "w").glob("factors/**/P/c/*/*")} == before
    assert result["certificate"]["arithmetic"] == "float64"
    with pytest.raises(
        ConfigError, match=r"compute.arithmetic is float32, .* as it was fitted, with float64"
    ):
        evaluate_workspace(settings(tmp_path / "w", arithmetic="float32"))


def test_tiles_more_precise_than_their_arithmetic_are_refused():
    with pytest.raises(
        ConfigError, match=r"compute.arithmetic is float32 but compute.dtype is float64.*=auto"
    ):
        make_config({"workspace": "w", "compute": {"dtype": "float64", "arithmetic": "float32"}})


def test_float32_arithmetic_is_refused_where_the_condition_needs_float64(tmp_path):
    small = {"name": "ease", "reg_x": 1e-3}
    with pytest.raises(NumericalError, match=r"for the arithmetic.* limit 1e4; use compute.arithmetic auto"):
        fit(tmp_path / "w", small, dtype="auto", arithmetic="float32")
