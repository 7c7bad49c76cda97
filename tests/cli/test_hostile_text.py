"""Whatever titles, ids, paths and names hold, no command sends it to a terminal as it is, nor a secret."""

import io
import json
import sys
import unicodedata

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.cli.app import COMMANDS
from l3ae_dist.messages import redacted
from l3ae_dist.runtime.events import Message
from l3ae_dist.runtime.streams import NeutralStream, neutral_streams
from l3ae_dist.runtime.watch.terminal import PlainConsole
from l3ae_dist.storage.credentials import without_secrets

# a clipboard that is set, colours, a title of the window, C1, a bell, an overwritten line, text turned around
EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[31m\x9b2J\r\u202e\u2066:heart:[bold]x[/bold][link=http://e]\x7f"
LINES = "one\nerror: two"
N_USERS, N_ITEMS = 30, 20


def harmful(text):
    """Every character of a text that a terminal obeys or hides, other than the ends of lines."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co")}


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments], env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A fitted model whose every name is hostile: ids, titles, texts, files, the workspace."""
    folder = tmp_path_factory.mktemp("hostile") / f"folder{EVIL.replace('/', '')}"
    folder.mkdir()
    rng = np.random.default_rng(0)
    items = [f"i{EVIL}{i}" for i in range(N_ITEMS)]
    users = [f"u{EVIL}{i}" for i in range(N_USERS)]
    pairs = {
        (int(u), int(i))
        for u, i in zip(rng.integers(0, N_USERS, 300), rng.integers(0, N_ITEMS, 300), strict=True)
    }
    log = pd.DataFrame([(users[u], items[i]) for u, i in sorted(pairs)], columns=["user_id", "item_id"])
    log.to_parquet(folder / "log\x1b[2J.parquet")
    titles = [f"t{i} {EVIL}{LINES}" for i in range(N_ITEMS)]
    pd.DataFrame({"item_id": items, "title": titles, f"column{EVIL}": titles}).to_parquet(
        folder / "items.parquet"
    )
    np.save(folder / "f.npy", rng.standard_normal((N_ITEMS, 4)).astype(np.float32))
    values = {
        "workspace": str(folder / "w"),
        "data": {
            "interactions": str(folder / "log\x1b[2J.parquet"), "items": str(folder / "items.parquet"),
            "embeddings": str(folder / "f.npy"),
        },
        "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
        "evaluate": {"ks": [20]},
        "compute": {"cluster": "synchronous", "threads": 1, "tile_size": 16, "dtype": "float64"},
    }  # fmt: skip
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    done = invoke("run", config)
    assert done.exit_code == 0, done.output
    return folder, config, values["workspace"], users, items, done


def commands(job):
    """Every command, with arguments that succeed or with a hostile one that is refused."""
    folder, config, workspace, users, items, _ = job
    more = folder / "more.parquet"
    pd.DataFrame({"user_id": [users[0]], "item_id": [items[0]]}).to_parquet(more)
    again = folder / "again.parquet"
    pd.DataFrame({"user_id": [users[1]], "item_id": [items[1]]}).to_parquet(again)
    bad = f"no{EVIL}"
    return {
        "demo": [["demo", "--workspace", f"{folder}/log\x1b[2J.parquet"]],
        "run": [["run", config], ["run", config, "--set", f"{bad}=1"], ["run", bad]],
        "embed": [["embed", config]],
        "fit": [["fit", config]],
        "evaluate": [["evaluate", config, "--set", "evaluate.ks=[5]"]],
        "status": [["status", workspace], ["status", bad]],
        "use": [["use", workspace, bad], ["use", bad, "x"]],
        "recommend": [["recommend", workspace, users[0]], ["recommend", workspace, bad],
                      ["recommend", workspace, users[0], "--allow", bad],
                      ["recommend", workspace, users[0], "--model", bad],
                      ["recommend", workspace, "--all", "--output", f"{folder}/out{bad}.parquet"]],
        "similar": [["similar", workspace, items[0]], ["similar", workspace, bad],
                    ["similar", workspace, items[0], "--kind", bad]],
        "explain": [["explain", workspace, users[0], items[0]], ["explain", workspace, bad, bad]],
        "export": [["export", workspace, f"{folder}/export{bad}"], ["export", workspace, folder]],
        "serve": [["serve", bad], ["serve", workspace, "--host", bad], ["serve", workspace, "--model", bad]],
        "config": [["config", "show", config], ["config", "show", bad, "--set", f"{bad}=1"],
                   ["config", "init", f"{folder}/{bad}.yaml"], ["config", "schema"]],
        "unlock": [["unlock", workspace], ["unlock", bad]],
        "verify": [["verify", workspace]],
        "check": [["check", config]],
        "plan": [["plan", config]],
        "calibrate": [["calibrate", config, "--set", f"compute.dtype={bad}"]],
        "simulate": [["simulate", config], ["simulate", config, "--rates", bad]],
        "append": [["append", workspace, more, "--set", "compute.cluster=synchronous"], ["append", workspace, bad]],
        "update": [["update", workspace, again, "--set", "compute.cluster=synchronous"], ["update", workspace, bad]],
        "forget": [["forget", workspace, users[-1], "--set", "compute.cluster=synchronous"],
                   ["forget", workspace, bad], ["forget", workspace, users[0], "--deadline", bad],
                   ["forget", workspace, "--users", bad],
                   ["forget", workspace, "--erase", "--set", "compute.cluster=synchronous"]],
        "compare": [["compare", workspace, workspace], ["compare", f"{workspace}#{bad}"]],
        "report": [["report", workspace], ["report", workspace, "--run", bad]],
        "sweep": [["sweep", config, "--set", f"sweep.{bad}=1"]],
        "watch": [["watch", workspace, "--once"]],
        "doctor": [["doctor", bad, "--set", "compute.cluster=synchronous"]],
        "du": [["du", workspace]],
        "gc": [["gc", workspace, "--dry-run"]],
        "cluster": [["cluster", "render", bad, "--plan", config],
                    ["cluster", "render", "slurm", "--plan", config, "--out", f"{folder}/{bad}"]],
        "usage": [[bad], ["run", f"--{bad}"], ["run", config, bad], ["--debug", "status", bad]],
    }  # fmt: skip


def test_nothing_harmful_reaches_standard_output_or_standard_error(job):
    seen = commands(job)
    assert {command.__name__ for command in COMMANDS} <= set(seen)
    told = {" ".join(map(str, call)): invoke(*call) for calls in seen.values() for call in calls}
    assert not harmful(job[-1].output + job[-1].stderr)
    for call, done in told.items():
        assert not harmful(done.stdout), call
        assert not harmful(done.stderr), call
        assert "internal error" not in done.stderr, (call, done.stderr)
        if "--debug" not in call:
            assert "\nerror: two" not in done.stdout, call
    shown = told[f"recommend {job[2]} {job[3][0]}"].stdout
    assert "\u2764" not in shown  # what :heart: is to rich


def test_json_and_parquet_hold_every_character(job):
    folder, _, workspace, users, items, _ = job
    answer = invoke("recommend", workspace, users[0], "--json")
    assert not harmful(answer.stdout)
    rows = json.loads(answer.stdout)["recommendations"]
    assert {row["item_id"] for row in rows} <= set(items)
    assert all(EVIL in row["title"] for row in rows if "title" in row)
    out = folder / "all.parquet"
    assert invoke("recommend", workspace, "--all", "--output", out).exit_code == 0
    assert set(pd.read_parquet(out)["user_id"]) <= set(users)


def test_the_report_is_a_page_of_words(job):
    folder, _, workspace, *_ = job
    page = folder / "page.html"
    assert invoke("report", workspace, "--output", page).exit_code == 0
    text = page.read_text()
    body = text[text.index("<body") :]
    assert not {"\u202e", "\u2066", "\x1b", "\x9b"} & set(body)


SECRETS = [
    "https://me:topsecret@host/log.csv",
    "https://topsecret@host/log.csv",
    "s3://AKIAIOSFODNN7EXAMPLE:top/secret+topsecret@bucket/log.csv",
    "s3://key:se::cret/topsecret@bucket/log.csv",
    "simplecache::s3://me:topsecret@host/log.csv",
    "zip://log.csv::https://host/x.zip?X-Amz-Signature=topsecret",
    "az://container/log.csv?sv=2024&sig=topsecret&se=2030",
    "https://host/log.csv?access_token=topsecret",
    "https://host/log.csv?AWSAccessKeyId=topsecret",
    "https://host/log.csv#token=topsecret",
    "DefaultEndpointsProtocol=https;AccountKey=topsecret==;EndpointSuffix=x",
    "aws_secret_access_key = topsecret",
    "{'password': 'topsecret'}",
    "Authorization: Bearer topsecret-topsecret",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_of_every_form_are_left_out(text, capsys):
    for told in (redacted(f"cannot open {text} now"), without_secrets({"a": [text]})["a"][0]):
        assert "topsecret" not in told
    assert "topsecret" not in Message(message=f"cannot open {text} now").message
    out = io.StringIO()
    PlainConsole(out).print(f"cannot open {text} now", soft_wrap=True)
    NeutralStream(out).write(f"Traceback: {text}\n")
    with neutral_streams():
        print(f"UserWarning: {text}", file=sys.stderr)
    assert "topsecret" not in out.getvalue() + capsys.readouterr().err
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("text", [
    "http://host:8080/a@b.csv", "http://[::1]:8787/status", "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in it",
    "compute.keep=[L, Linv]", "s3://bucket/a/b?part=2", "the design=7, signals: 3",
])  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


def test_values_of_secret_variables_are_left_out_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/a/path/of/it")
    assert redacted("signed with wJalrXUtnFEMI, from /a/path/of/it") == "signed with ..., from /a/path/of/it"
