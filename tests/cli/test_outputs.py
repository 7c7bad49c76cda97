"""Commands that write a file or a folder refuse other people's before they compute."""

import pandas as pd
import pytest
from small_fits import fit
from typer.testing import CliRunner

from l3ae_dist.cli.app import app
from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.model.fitted import load_model


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "w"
    fit(folder, reg_x=20, name="ease")
    fit(folder, reg_x=30, name="ease")
    return folder


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["report", "W"], "--output"),
        (["compare", "W"], "--output"),
        (["calibrate", "W"], "--output"),
        (["sweep", "W", "--set", "sweep.ridge=[20]"], "--plot"),
        (["recommend", "W", "1"], "--output"),
    ],
)
def test_a_file_of_somebody_else_is_refused_and_left(tmp_path, where, command, option):
    theirs = tmp_path / "log.parquet"
    pd.DataFrame({"user_id": [1], "item_id": [2]}).to_parquet(theirs)
    for path, words in ((theirs, "is there and is no"), (tmp_path, "is a folder")):
        before = theirs.read_bytes()
        done = invoke(*(str(where) if word == "W" else word for word in command), option, path)
        assert done.exit_code == ConfigError.exit_code, done.output
        assert words in done.stderr.replace("\n", " ")
        assert theirs.read_bytes() == before


def test_what_a_command_wrote_it_replaces(tmp_path, where):
    for _ in range(2):
        for command in (["report"], ["compare"], ["recommend", "1"]):
            done = invoke(command[0], where, *command[1:], "--output", tmp_path / command[0])
            assert done.exit_code == 0, done.output


def test_recommendations_are_not_written_over_what_they_are_made_from(tmp_path, where):
    made = tmp_path / "r.parquet"
    assert invoke("recommend", where, "1", "--output", made).exit_code == 0
    before = made.read_bytes()
    done = invoke("recommend", where, "1", "--block", made, "--output", made)
    assert done.exit_code == ConfigError.exit_code
    assert "is read and written" in done.stderr.replace("\n", " ")
    assert made.read_bytes() == before


def test_a_model_is_not_saved_into_its_own_workspace(where):
    with pytest.raises(WorkspaceError, match="save the model outside it"):
        load_model(where).save(where / "copy")
    assert not (where / "copy").exists()


def test_cluster_files_that_are_no_text_are_left(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("workspace: ./w\n")
    numbers = ["--items", "1000", "--users", "1000", "--interactions", "10000", "--dim", "8"]
    out = tmp_path / "out"
    done = invoke("cluster", "render", "slurm", "--plan", config, "--out", out, *numbers)
    assert done.exit_code == 0, done.output
    file = next(path for path in sorted(out.rglob("*")) if path.is_file())
    file.write_bytes(b"\xff\xfe\x00")
    done = invoke("cluster", "render", "slurm", "--plan", config, "--out", out, *numbers)
    assert done.exit_code == ConfigError.exit_code, done.output
    assert file.read_bytes() == b"\xff\xfe\x00"
