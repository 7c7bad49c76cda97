"""Values of no use to a call end in one short sentence of the right kind, and never in a traceback."""

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist import EASE, L3AE, append, load_model, make_config, run
from l3ae_dist.cli import app as cli
from l3ae_dist.errors import ConfigError, DataError, L3AEError, WorkspaceError

BIG = "x" * 10_000_000
LOG = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 3]})
ITEMS = pd.DataFrame({"item_id": [1, 2, 3], "title": ["a", "b", "c"]})
COMPUTE = {"cluster": "synchronous"}
MOST = 500


class Talkative:
    """An object that says too much."""

    def __repr__(self):
        return "y" * 5_000_000


ABSURD = {
    "ten megabytes": BIG,
    "a table of other columns": pd.DataFrame({BIG[:100_000]: [1.5, np.nan]}),
    "an array": np.zeros((5, 4)),
    "a mapping": {"a": BIG},
    "a nested list": [[BIG]],
    "a function": len,
    "an object": Talkative(),
    "bytes": b"\0" * 100_000,
    "not a number": float("nan"),
    "control characters": "\x1b[2J\r\u202e",
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("absurd")
    return EASE(reg_x=1, compute=COMPUTE).fit(LOG, ITEMS, workspace=folder / "w"), folder


def config(folder, **sections):
    return make_config(
        {"workspace": f"{folder}/r", "compute": COMPUTE, "model": {"name": "ease", "reg_x": 1}, **sections}
    )


def options(folder, **values):
    return run(config(folder, data={"options": values}), interactions=LOG, items=ITEMS)


CALLS = {
    "fit interactions": (DataError, lambda m, d, v: EASE(compute=COMPUTE).fit(v, ITEMS, workspace=d / "x")),
    "fit items": (DataError, lambda m, d, v: EASE(compute=COMPUTE).fit(LOG, v, workspace=d / "x")),
    "fit embeddings": (
        DataError,
        lambda m, d, v: L3AE(compute=COMPUTE).fit(LOG, ITEMS, embeddings=v, workspace=d / "x"),
    ),
    "fit options": (
        ConfigError,
        lambda m, d, v: EASE(compute=COMPUTE, data_options=v).fit(LOG, ITEMS, workspace=d / "x"),
    ),
    "fit ridge": (
        ConfigError,
        lambda m, d, v: EASE(reg_x=v, compute=COMPUTE).fit(LOG, ITEMS, workspace=d / "x"),
    ),
    "run": (ConfigError, lambda m, d, v: run(v)),
    "run interactions": (DataError, lambda m, d, v: run(config(d), interactions=v, items=ITEMS)),
    "run items": (DataError, lambda m, d, v: run(config(d), interactions=LOG, items=v)),
    "run until": (ConfigError, lambda m, d, v: run(config(d), interactions=LOG, items=ITEMS, until=v)),
    "check": (ConfigError, lambda m, d, v: l3ae_dist.check(v)),
    "check interactions": (
        DataError,
        lambda m, d, v: l3ae_dist.check(config(d), interactions=v, items=ITEMS),
    ),
    "check items": (DataError, lambda m, d, v: l3ae_dist.check(config(d), interactions=LOG, items=v)),
    "make_config": (ConfigError, lambda m, d, v: make_config(v)),
    "a path in the configuration": (
        L3AEError,
        lambda m, d, v: run(config(d, data={"interactions": v, "items": v})),
    ),
    "a column": (L3AEError, lambda m, d, v: options(d, user_column=v)),
    "a separator": (L3AEError, lambda m, d, v: options(d, separator=v)),
    "recommend": (L3AEError, lambda m, d, v: m.recommend(v)),
    "recommend an id": (L3AEError, lambda m, d, v: m.recommend([v])),
    "recommend items": (L3AEError, lambda m, d, v: m.recommend([1], items=v)),
    "recommend n": (ConfigError, lambda m, d, v: m.recommend([1], n=v)),
    "similar items": (L3AEError, lambda m, d, v: m.similar_items(v)),
    "similar kind": (ConfigError, lambda m, d, v: m.similar_items([1], kind=v)),
    "explain a user": (L3AEError, lambda m, d, v: m.explain(v, 1)),
    "explain an item": (L3AEError, lambda m, d, v: m.explain(1, v)),
    "append": (L3AEError, lambda m, d, v: append(str(d / "w"), v, compute=COMPUTE)),
    "append to": (L3AEError, lambda m, d, v: append(v, LOG, compute=COMPUTE)),
    "load": (L3AEError, lambda m, d, v: load_model(v)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_value_of_no_use_is_one_short_sentence(fitted, call):
    kind, function = CALLS[call]
    for name, value in ABSURD.items():
        with pytest.raises(kind) as caught:
            function(*fitted, value)
        told = str(caught.value)
        assert 0 < len(told) <= MOST, (name, told)
        assert told.replace("\n", "").isprintable(), (name, told)


def test_no_interactions_are_a_sentence_and_no_items_a_default(fitted):
    with pytest.raises((DataError, ConfigError)) as caught:
        run(config(fitted[1]), interactions=None, items=ITEMS)
    assert 0 < len(str(caught.value)) <= MOST
    assert run(config(fitted[1]), interactions=LOG, items=None)["model"]


LONG = "x" * 100_000
COMMANDS = (
    ("run", LONG),
    ("run", f"{LONG}.yaml"),
    ("check", f"{LONG}.yaml"),
    ("check", "config.yaml", "--set", LONG),
    ("check", "config.yaml", "--set", f"data.interactions={LONG}"),
    ("check", "config.yaml", "--set", f"data.options.user_column={LONG}"),
    ("check", "config.yaml", "--set", f"data.options.{LONG}=1"),
    ("check", "config.yaml", "--set", f"data.options.min_user_interactions={LONG}"),
    ("check", "config.yaml", f"--{LONG}"),
    ("recommend", "w", LONG),
    ("recommend", LONG, "1"),
    ("recommend", "w", "1", "-n", LONG),
    ("similar", "w", LONG),
    ("append", "w", LONG),
    (LONG,),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(word[:40] for word in words))
def test_a_command_says_a_paragraph_and_exits_with_a_code(fitted, arguments, monkeypatch):
    folder = fitted[1]
    monkeypatch.chdir(folder)
    LOG.to_csv(folder / "log.csv", index=False)
    settings = {"workspace": "unused", "data": {"interactions": "log.csv"}, "model": {"name": "ease"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    done = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "80"})
    assert done.exit_code in (2, 3, 4), done.output
    assert len(done.stderr) <= 3 * MOST, len(done.stderr)
    assert "Traceback" not in done.stderr


def test_a_workspace_must_be_a_path(fitted):
    for value in (LOG, np.zeros(3), len, b"\0\0"):
        with pytest.raises((ConfigError, WorkspaceError)) as caught:
            EASE(compute=COMPUTE).fit(LOG, ITEMS, workspace=value)
        assert len(str(caught.value)) <= MOST
