"""Configuration: every problem is one sentence with the value, the limit and the next step."""

import random
import re
import subprocess
import sys

import pytest

from l3ae_dist.config.axes import draw
from l3ae_dist.config.load import load_config, make_config
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.config.section import Section, _kinds
from l3ae_dist.config.sweep import Range, SweepConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.metrics import METRICS


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    import os

    for name in [n for n in os.environ if n.startswith("L3AE__")]:
        monkeypatch.delenv(name)


def test_defaults_need_only_a_workspace():
    made = make_config({"workspace": "ws"})
    assert made.compute.memory_budget == 2 * 2**30
    assert made.model.ridge == made.model.reg_x + made.model.reg_e
    assert made.evaluate.cutoffs == (5, 10, 20, 50)
    assert made.grid is None


def test_tiles_are_computed_on_the_cpu_unless_a_device_is_chosen():
    assert make_config({"workspace": "ws"}).compute.device == "cpu"
    assert load_config(None, {"workspace": "ws", "compute.device": "auto"}).compute.device == "auto"
    with pytest.raises(ConfigError, match=r"compute.device is 'tpu' but must be 'auto', 'cpu' or 'cuda'"):
        make_config({"workspace": "ws", "compute": {"device": "tpu"}})


def test_later_sources_win_over_earlier_ones(tmp_path, monkeypatch):
    path = tmp_path / "run.yaml"
    path.write_text("workspace: from-file\ncompute: {workers: 2, memory_budget: 1GiB}\ndata:\n")
    monkeypatch.setenv("L3AE__COMPUTE__WORKERS", "3")
    monkeypatch.setenv("L3AE__MODEL__REG_X", "-100")
    made = load_config(path, {"compute.workers": "4", "compute.keep": "[L]", "model.reg_e": "200"})
    assert made.workspace == "from-file"
    assert made.compute.workers == 4
    assert made.compute.memory_budget == 2**30
    assert made.compute.keep == ("L",)
    assert (made.model.reg_x, made.model.ridge) == (-100, 100)


def test_a_metric_adds_its_own_cutoff():
    made = make_config({"workspace": "ws", "evaluate": {"metric": "recall@7", "ks": [20]}})
    assert made.evaluate.cutoffs == (7, 20)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_the_metrics_module_can_be_chosen(name):
    assert (
        make_config({"workspace": "ws", "evaluate": {"metric": f"{name}@5"}}).evaluate.metric == f"{name}@5"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, r"workspace is not set; give it .*--set workspace=VALUE\."),
        ({"modle": {}}, r"unknown key modle; did you mean model\?"),
        ({"model": {"regx": 1}}, r"unknown key model\.regx; did you mean model\.reg_x\?"),
        (
            {"data": {"options": {"sed": 1}}},
            r"unknown key data\.options\.sed; did you mean data\.options\.seed\?",
        ),
        (
            {"grid": {"ridges": [1], "zzz": 1}},
            r"unknown key grid\.zzz; known here are ridges, reg_f, reg_e, alphas, betas, ps, xis\.",
        ),
        ({"model": {"reg_x": -200}}, r"the ridge reg_x \+ reg_e is -100 but must be greater than 0; raise"),
        ({"model": {"name": "ease", "reg_x": 0}}, r"the ridge reg_x .* is 0 but must be greater than 0"),
        ({"model": {"reg_f": 0}}, r"model\.reg_f is 0 but must be greater than 0"),
        ({"model": {"reg_e": -1}}, r"model\.reg_e is -1 but must be greater than or equal to 0"),
        ({"model": {"name": "svd"}}, r"model\.name is 'svd' but must be 'l3ae', 'ease', "),
        ({"compute": {"workers": 0}}, r"compute\.workers is 0 but must be greater than or equal to 1"),
        ({"compute": {"memory_budget": "lots"}}, r"compute\.memory_budget: 'lots' is not a size"),
        ({"compute": {"cluster": "address"}}, r"compute\.address is not set"),
        ({"compute": {"address": "tls://h:1"}}, r"set compute\.cluster=address"),
        ({"evaluate": {"metric": "auc@3"}}, r"evaluate\.metric is 'auc@3' but must be one of recall, "),
        ({"grid": {"ridges": [100, -1]}}, r"grid\.ridges\.1 is -1 but must be greater than 0"),
    ],
)
def test_every_problem_is_a_sentence(values, sentence):
    if values:
        values = {"workspace": "ws", **values}
    with pytest.raises(ConfigError, match=sentence):
        make_config(values)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        make_config({"model": {"reg_f": 0}, "compute": {"workers": 0}})
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "holds a list, not sections"),
        ("a: [1\n", "is not valid YAML"),
        ("model: 3\n", "model is 3"),
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_config(path, {"workspace": "ws"})


def test_a_missing_file_and_a_key_below_a_value_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file .*none\.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="'workspace' is a value, not a section"):
        load_config(None, {"workspace": "ws", "workspace.name": "x"})


def test_importing_the_configuration_imports_nothing_heavy():
    heavy = ("dask", "distributed", "ray", "torch", "pandas", "zarr", "scipy", "sentence_transformers")
    code = f"import sys, l3ae_dist.config.run_config; sys.exit(str([m for m in {heavy} if m in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr.strip()


@pytest.mark.parametrize("given", ["off", False])
def test_peer_reads_are_turned_off_by_a_word_that_yaml_takes_for_false(given):
    compute = make_config({"workspace": "w", "compute": {"peer_reads": given, "workers": 2}}).compute
    assert compute.peer_reads == "off"
    assert not compute.reads_from_peers


@pytest.mark.parametrize(
    ("compute", "several"),
    [({}, False), ({"workers": 2}, True), ({"cluster": "address", "address": "tls://h:1"}, True)],
)
def test_workers_read_from_each_other_where_there_may_be_several(compute, several):
    assert make_config({"workspace": "w", "compute": compute}).compute.reads_from_peers is several


def numeric_settings(section=RunConfig, place=()):
    """Yield the places of all settings of a configuration that take numbers."""
    for name, field in section.model_fields.items():
        kinds = set(_kinds(field.annotation))
        inner = [one for one in kinds if isinstance(one, type) and issubclass(one, Section)]
        if kinds & {int, float}:
            yield (*place, name)
        for one in inner:
            yield from numeric_settings(one, (*place, name))


@pytest.mark.parametrize("given", [True, [1, False]])
@pytest.mark.parametrize("place", sorted(set(numeric_settings())), ids=".".join)
def test_no_number_is_true_or_false(place, given):
    """Python counts them as 1 and 0, so that ``whiten: true`` would be all of it."""
    *sections, last = place
    values = {last: given}
    if last in Range.model_fields and sections[0] == "sweep" and sections[1:]:
        values = {"low": 1, "high": 2, "count": 2} | values
    for name in reversed(sections):
        values = {name: values}
    with pytest.raises(
        ConfigError, match=re.escape(".".join(place)) + r" is (True|\[1, False\]) but must be"
    ):
        make_config({"workspace": "w", **values})


def test_switches_stay_switches():
    made = make_config(
        {"workspace": "w", "transform": {"normalize": True}, "sweep": {"ridge": [1], "normalize": [True]}}
    )
    assert made.transform.normalize is True
    assert made.sweep.normalize == (True,)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rounded_values_of_a_range_stay_within_its_bounds(scale, seed):
    bounds = Range(low=0.999912, high=0.999991, count=5, scale=scale)
    drawn = [draw(bounds.model_copy(update={"count": None}), random.Random(seed)) for _ in range(20)]
    for values in (bounds.values(), drawn):
        assert all(bounds.low <= value <= bounds.high for value in values)


def test_a_share_of_dropped_interactions_is_never_rounded_to_all_of_them():
    sweep = SweepConfig(ridge=[5], p={"low": 0.5, "high": 0.99999, "count": 2})
    assert [spec.p for spec in sweep.models()] == [0.5, 0.99999]
