"""``l3ae-dist config``: the first file loads, what is shown is what a run reads, the schema knows it."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from l3ae_dist.cli.app import app
from l3ae_dist.config.load import load_config, make_config


def call(*arguments):
    done = CliRunner().invoke(app, ["config", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_first_configuration_loads_and_is_not_written_over(tmp_path):
    path = tmp_path / "mine.yaml"
    code, out, _ = call("init", path)
    assert (code, str(path) in out) == (0, True)
    config = load_config(path, environment=False)
    assert (config.model.name, config.model.reg_e, config.evaluate.ks) == ("l3ae", 200, (10, 20))
    assert str(path) in path.read_text()  # the commands in its comments name it
    before = path.read_text() + "# mine\n"
    path.write_text(before)
    code, out, told = call("init", path)
    assert (code, out, "is there already" in told) == (2, "", True)
    assert path.read_text() == before


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_shown_is_the_configuration_that_is_read(tmp_path, as_json, monkeypatch):
    path = tmp_path / "mine.yaml"
    call("init", path)
    monkeypatch.setenv("L3AE__COMPUTE__WORKERS", "3")
    code, out, _ = call("show", path, "--set", "model.reg_x=-50", *(["--json"] if as_json else []))
    values = (json.loads if as_json else yaml.safe_load)(out)
    assert code == 0
    monkeypatch.delenv("L3AE__COMPUTE__WORKERS")
    config = make_config(values)
    assert (config.compute.workers, config.model.reg_x, config.data.items) == (3, -50, "items.parquet")
    assert config == load_config(path, {"model.reg_x": "-50", "compute.workers": "3"}, environment=False)


def test_only_what_was_changed_is_shown_on_request(tmp_path):
    code, out, _ = call("show", tmp_path / "w", "--set", "compute.workers=2", "--changed")
    assert code == 0
    assert yaml.safe_load(out) == {"workspace": str(tmp_path / "w"), "compute": {"workers": 2}}


def test_a_configuration_that_is_wrong_is_a_sentence(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("workspace: w\nmodel: {reg_y: 5}\n")
    code, out, told = call("show", path)
    assert (code, out, "reg_y" in told) == (2, "", True)


def test_the_schema_takes_configurations_and_refuses_what_they_may_not_be(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    code, out, _ = call("schema")
    schema = json.loads(out)
    assert code == 0
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    call("init", tmp_path / "c.yaml")
    good = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert list(checker.iter_errors(good)) == []
    for section, value in (("model", {"reg_y": 5}), ("compute", {"workers": "many"}), ("colour", "red")):
        assert list(checker.iter_errors({**good, section: value})), section
    described = schema["$defs"]["ComputeConfig"]["properties"]["workers"]
    assert "worker" in described["description"].lower()
