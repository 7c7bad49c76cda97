"""Files of histories and of lists of items on the command line: their ids follow those of the workspace."""

import json

import pytest
from typer.testing import CliRunner

from l3ae_dist.cli.app import app
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

# 01 and 2 stand together once more than the other pairs, so that no two scores of a history tie
ROWS = ("007,01", "007,2", "8,01", "8,3", "9,2", "9,3", "06,01", "06,2")


@pytest.fixture(scope="module", params=["text", "integer"])
def workspace(request, tmp_path_factory):
    """A model whose ids are text, or integers, and how it writes an item."""
    folder = tmp_path_factory.mktemp("model")
    rows = ROWS if request.param == "text" else [row.replace("0", "") for row in ROWS]
    (folder / "log.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    run(
        make_config(
            {
                "workspace": str(folder / "w"),
                "data": {"interactions": str(folder / "log.csv"), "options": {"split": "none"}},
                "model": {"name": "ease", "reg_x": 1},
                "compute": {"cluster": "synchronous", "threads": 1},
            }
        )
    )
    return str(folder / "w"), (
        lambda item: f"0{item}" if item == 1 else str(item)
    ) if request.param == "text" else int


def recommended(workspace, tmp_path, **files):
    """The items of each user, for files by option."""
    command = ["recommend", workspace, "--json"]
    for option, (name, text) in files.items():
        (tmp_path / name).write_text(text)
        command += [f"--{option}", str(tmp_path / name)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    rows = found["recommendations"] if isinstance(found, dict) else found
    return {
        user: [row["item_id"] for row in rows if row["user_id"] == user]
        for user in dict.fromkeys(row["user_id"] for row in rows)
    }


def test_histories_follow_the_workspace(workspace, tmp_path):
    model, item = workspace
    one = item(1)
    csv = ("h.csv", f"user_id,item_id,weight\n1,2,1\n5,{one},3\n")
    assert recommended(model, tmp_path, histories=csv) == {1: [one, item(3)], 5: [item(2), item(3)]}
    assert recommended(model, tmp_path, histories=("h.tsv", "item_id\tuser_id\n2\tx\n")) == {
        "x": [one, item(3)]
    }
    assert recommended(model, tmp_path, histories=("h.jsonl", '{"user_id": "007", "item_id": 2}\n')) == {
        "007": [one, item(3)]
    }


def test_lists_of_items_match_the_users_of_histories(workspace, tmp_path):
    model, item = workspace
    text = f"user_id,item_id\n007,2\n8,{item(1)}\n"
    found = recommended(
        model,
        tmp_path,
        histories=("h.csv", text),
        block=("b.csv", "user_id,item_id\n8,3\n"),
        allow=("a.csv", "item_id\n2\n3\n"),
    )
    assert found == {"007": [item(3)], "8": [item(2)]}


def test_ids_that_cannot_match_are_named(workspace, tmp_path):
    model, _ = workspace
    (tmp_path / "h.csv").write_text("user_id,item_id\n1,x7\n")
    result = CliRunner().invoke(app, ["recommend", model, "--histories", str(tmp_path / "h.csv")])
    assert result.exit_code != 0
    assert "x7" in str(result.exception) + result.output
