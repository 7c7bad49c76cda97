"""The model card: a Markdown file from a run, without anything of the user's that Markdown would obey."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist.cli import app as cli
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.report import write_card

EVIL = "<script>x</script> [a](b) | *c* `d`"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    where, rng = tmp_path_factory.mktemp("card") / "w", np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 150, 1500), "item_id": rng.integers(0, 60, 1500)})
    items = pd.DataFrame({"item_id": range(60), "title": [EVIL] * 60})
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "name": "evening-model",
        "data": {"options": {"split": "random"}},
        "model": {"name": "l3ae", "reg_x": 5.0, "reg_f": 2.0, "reg_e": 30.0},
        "compute": {"cluster": "synchronous", "tile_size": 32, "memory_budget": "1GiB"},
    })  # fmt: skip
    f = rng.standard_normal((60, 8)).astype(np.float32)
    l3ae_dist.run(config, interactions=log.drop_duplicates(), items=items, embeddings=f)
    return where


def test_a_card_tells_data_figures_certificate_and_limits(workspace, tmp_path):
    path = write_card(workspace, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text("utf-8")
    assert path == str(tmp_path / "README.md")
    assert text.startswith("---\nlibrary_name: l3ae_dist\n")
    result = json.loads(next((workspace / "meta" / "results").glob("*.json")).read_text())
    figure = result["models"]["L3AE"]["test"]["ndcg@20"]
    for part in (
        "# evening\\-model",
        "## Figures",
        "## Data",
        "## How exactly",
        "## Limits",
        f"{figure:.4f}",
    ):
        assert part in text
    assert "1,0" in text
    rows = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(rows)) <= 3  # as many cells in each row as in the heading of its table
    assert str(workspace) not in text
    write_card(workspace, tmp_path / "README.md")  # an earlier card is replaced
    assert (tmp_path / "README.md").read_text("utf-8") == text


def test_markup_of_the_data_is_text(tmp_path):
    where = tmp_path / "w"
    (tmp_path / f"log{EVIL.replace('/', '')}.csv").write_text("user_id,item_id\n1,1\n2,1\n2,2\n", "latin-1")
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "data": {"interactions": str(next(tmp_path.glob("log*")))},
        "model": {"name": "ease"},
        "compute": {"cluster": "synchronous", "memory_budget": "1GiB"},
    })  # fmt: skip
    l3ae_dist.run(config, until="fit")
    write_card(where, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text("utf-8")
    assert "<script>" not in text
    assert "The model was not evaluated" in text


def test_what_is_no_card_is_left_alone(workspace, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match="no model card"):
        write_card(workspace, tmp_path / "notes.md")
    assert (tmp_path / "notes.md").read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot write"):
        write_card(workspace, tmp_path / "none" / "card.md")
    with pytest.raises((ConfigError, StageMissingError)):
        write_card(workspace, tmp_path / "card.md", run="zz")


def test_the_command_writes_one(workspace, tmp_path):
    done = CliRunner().invoke(cli.app, ["report", str(workspace), "--card", str(tmp_path / "c.md"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"card": str(tmp_path / "c.md")}
