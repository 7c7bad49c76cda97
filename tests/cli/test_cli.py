"""The command line: exit codes, one paragraph for each error, exactly one JSON object, a light start."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from l3ae_dist import __version__, errors
from l3ae_dist.cli import app as cli
from l3ae_dist.cli.command import command
from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.exits import EXIT_CODES, guarded
from l3ae_dist.cli.ids import call_with_ids
from l3ae_dist.cli.options import ComputeOptions, Count
from l3ae_dist.cli.output import plain
from l3ae_dist.cli.views.result import print_result
from l3ae_dist.runtime.events import event_of
from l3ae_dist.runtime.watch.progress import progress_printer
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace


def call(*arguments, **environment):
    """Run the console script in its own process."""
    return subprocess.run(
        [sys.executable, "-c", "from l3ae_dist.cli.app import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment, "COLUMNS": "200"},
    )


@pytest.fixture
def workspace(tmp_path):
    made = Workspace.create(tmp_path / "ws")
    array = ChunkArray.create(made, "grams/g", shape=(5, 5), chunks=(3, 3), dtype="float32")
    array.write(0, 0, np.ones((3, 3), np.float32))
    array.write(1, 1, np.ones((2, 2), np.float32))
    return made


def test_help_lists_the_commands_and_every_exit_code():
    text = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "400"}).output
    for name in [
        "demo",
        "run",
        "status",
        "embed",
        "fit",
        "evaluate",
        "sweep",
        "recommend",
        "similar",
        "explain",
        "unlock",
        "verify",
    ]:
        assert f" {name} " in text
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert codes <= set(EXIT_CODES)
    assert all(f"{code} {meaning[:20]}" in text for code, meaning in EXIT_CODES.items())


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "l3ae_dist", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


@dataclass(frozen=True)
class Group:
    """Options for the tests of groups."""

    name: Annotated[str, typer.Argument(help="A name.")]
    n: Count = 3
    tags: Annotated[list[str], typer.Option("--tag")] = field(default_factory=list)


def test_a_command_shows_the_options_of_its_groups_and_gets_them_filled():
    app, calls = typer.Typer(), []

    @app.command()
    @command
    def show(first: str, *, group: Group, loud: bool = False) -> None:
        """Show."""
        calls.append((first, group, loud))

    for arguments in (["a", "b"], ["a", "b", "-n", "5", "--tag", "x", "--tag", "y", "--loud"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert calls == [("a", Group("b", 3, []), False), ("a", Group("b", 5, ["x", "y"]), True)]
    assert CliRunner().invoke(app, ["a"]).exit_code == 2  # the group's argument is missing


def test_help_imports_nothing_heavy():
    heavy = ("dask", "distributed", "ray", "torch", "pandas", "zarr", "numpy", "scipy")
    code = (
        "import sys\nfrom l3ae_dist.cli.app import main\n"
        f"try:\n    main()\nfinally:\n    print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_status_imports_neither_dask_nor_ray_nor_torch(workspace):
    code = (
        "import sys\nfrom l3ae_dist.cli.app import main\ntry:\n    main()\nfinally:\n"
        "    print([m for m in ('distributed', 'ray', 'torch') if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "status", workspace.url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    status = json.loads(done.stdout)
    assert status["workspace"] == workspace.url
    assert status["arrays"]["grams/g"] == {"done": 2, "total": 3}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "none.yaml"], 2, "error: no configuration file none.yaml"),
        (["run", "ws", "--set", "oops"], 2, "error: --set 'oops' has no value"),
        (["run", "ws", "--set", "model.regx=1"], 2, "did you mean model.reg_x?"),
        (["run", "ws", "--workers", "0"], 2, "compute.workers is 0 but must be"),
        (["fit", "ws", "--set", "model.reg_x=-500"], 2, "the ridge reg_x + reg_e is -400"),
        (["run", "ws", "--memory-budget", "much"], 2, "'much' is not a size"),
        (["status", "no-such-workspace"], 4, "error: no workspace at"),
        (["verify", "no-such-workspace"], 4, "error: no workspace at"),
        (["unlock", "ftp://host/ws"], 2, "workspace scheme 'ftp' is not supported"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_an_error_is_one_paragraph_and_its_exit_code(arguments, code, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback():
    done = call("--debug", "status", "no-such-workspace")
    assert done.returncode == 4
    assert "Traceback" in done.stderr


def test_verify_passes_a_sound_workspace_and_names_damage_with_exit_code_6(workspace):
    assert call("verify", workspace.url).returncode == 0
    key = "grams/g/c/1/1"
    data = bytearray(workspace.blobs.get(key))
    data[3] ^= 1
    workspace.blobs.put(key, [data])
    done = call("verify", workspace.url)
    assert done.returncode == 6
    assert "chunk (1, 1) of grams/g" in done.stdout
    report = json.loads(call("verify", workspace.url, "--json").stdout)
    assert [(d["array"], d["i"], d["j"]) for d in report["damage"]] == [("grams/g", 1, 1)]


def test_unlock_is_refused_while_the_run_lives(workspace):
    lock = WorkspaceLock(workspace, "my-run")
    with contextlib.suppress(errors.WorkspaceLockedError), lock:
        done = call("unlock", workspace.url)
        assert done.returncode == errors.WorkspaceLockedError.exit_code
        assert "my-run" in done.stderr
        assert call("unlock", "--force", workspace.url).returncode == 0
        with pytest.raises(errors.WorkspaceLockedError, match="lost the lock"):
            lock.renew()
    assert "not locked" in call("unlock", workspace.url).stdout


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.BudgetError("too small"), 2),
        (errors.DataError("bad"), 3),
        (errors.NotPositiveDefiniteError("item 3"), 7),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("oops"), 1),
    ],
)
def test_every_error_has_its_exit_code(raised, code, capsys):
    @guarded
    def command():
        raise raised

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == code
    output = capsys.readouterr()
    assert output.out == ""
    assert "error: " in output.err


def test_everything_but_the_result_goes_to_standard_error():
    code = (
        "import os, subprocess\nfrom l3ae_dist.cli.output import print_json, run_with_progress\n"
        "from l3ae_dist.runtime.events import Message\n"
        "def job(on_event):\n"
        "    print('python'); os.system('echo child'); on_event(Message(message='hi [x]'))\n"
        "    return {'a': float('nan'), 'b': (1, 2)}\n"
        "print_json(run_with_progress(job))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"a": None, "b": [1, 2]}
    for line in ("python", "child", "hi [x]"):
        assert line in done.stderr


def test_numpy_values_become_plain_json():
    value = {"a": np.float32(0.5), 1: np.array([1, 2]), "c": [np.nan, np.inf], "d": (True, None)}
    assert plain(value) == {"a": 0.5, "1": [1, 2], "c": [None, None], "d": [True, None]}


def test_ids_are_tried_as_text_and_as_integers():
    def known(expected):
        def find(ids):
            if ids != expected:
                raise errors.UnknownIdError(f"unknown {ids}")
            return ids

        return find

    assert call_with_ids(known(["7"]), ["7"]) == ["7"]
    assert call_with_ids(known([7]), ["7"]) == [7]
    with pytest.raises(errors.UnknownIdError, match=r"unknown \['x'\]"):
        call_with_ids(known([7]), ["x"])
    with pytest.raises(errors.UnknownIdError, match=r"unknown \['007'\]"):
        call_with_ids(known([7]), ["007"])


def test_flags_and_settings_reach_the_configuration(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("workspace: a\ncompute: {workers: 7}\n")
    options = ComputeOptions(workspace="007", memory_budget="1GiB", dtype="float64")
    made = options.configure(str(path), ["model.reg_x=-50", "evaluate.ks=[3]"])
    assert made.workspace == "007"
    assert made.compute.workers == 7
    assert (made.compute.memory_budget, made.compute.dtype) == (2**30, "float64")
    assert (made.model.reg_x, made.evaluate.ks) == (-50, (3,))
    assert build_config("s3://bucket/ws", []).workspace == "s3://bucket/ws"


def test_a_result_is_shown_with_titles_as_plain_data():
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        print_result(
            console,
            {
                "workspace": "/tmp/[red]ws",
                "seconds": 1.5,
                "plan": {"memory_budget": 2 * 2**30},
                "peak_memory_bytes": {"worker_max": 2**30, "workers_sum": 2**31, "client": 5},
                "certificate": {"residual": 1.5e-6, "probes": 4},
                "grid": [
                    {"model": "EASE", "reg_x": 50.0, "ridge": 50.0, "ndcg@20": 0.21},
                    {
                        "model": "L3AE",
                        "reg_x": 0.0,
                        "reg_f": 5.0,
                        "reg_e": 50.0,
                        "ridge": 50.0,
                        "ndcg@20": 0.25,
                    },
                    {
                        "model": "L3AE",
                        "reg_x": 0.0,
                        "reg_f": 1.0,
                        "reg_e": 50.0,
                        "ridge": 50.0,
                        "ndcg@20": 0.24,
                    },
                ],
                "models": {
                    "L3AE": {
                        "params": {"reg_x": 0.0, "reg_f": 5.0, "reg_e": 50.0},
                        "test": {"ndcg@20": 0.2534},
                    },
                    "EASE": {"params": {"reg_x": 50.0}, "test": {"ndcg@20": 0.2111}},
                },
                "comparison": {
                    "metric": "ndcg@20",
                    "models": ["L3AE", "EASE"],
                    "lift": 0.2,
                    "lift_low": 0.1,
                    "lift_high": 0.3,
                    "users": 671.0,
                },
                "examples": [
                    {
                        "user_id": 4,
                        "liked": ["Alien [1979]"],
                        "recommended": [{"title": "[bold]Aliens", "score": 0.5, "why": ["Alien [1979]"]}],
                    }
                ],
            },
        )
    text = console.export_text()
    for part in (
        "0.2534",
        "0.2111",
        "+20.00%",
        "[bold]Aliens",
        "Alien [1979]",
        "1.00 GiB of 2.00 GiB",
        "[red]ws",
    ):
        assert part in text
    assert "0.2400" not in text  # only the best of each ridge


def test_progress_in_a_notebook_goes_to_the_stream(capsys, monkeypatch):
    """And is not an HTML output for each line, which rich makes when it finds itself in one."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with progress_printer(sys.stdout) as on_event:
        on_event(event_of({"kind": "log", "message": "Dask dashboard: http://127.0.0.1:8787"}))
    assert capsys.readouterr().out == "Dask dashboard: http://127.0.0.1:8787\n"


def test_progress_off_a_terminal_is_a_few_plain_lines(capsys):
    with progress_printer(sys.stderr) as on_event:
        on_event(event_of({"kind": "stage_start", "stage": "factor", "done": 1, "total": 5000}))
        for done in range(2, 5001):
            on_event(event_of({"kind": "tile", "stage": "factor", "done": done, "total": 5000, "flops": 1e6}))
        on_event(event_of({"kind": "stage_end", "stage": "factor", "seconds": 2.0}))
        on_event(event_of({"kind": "stage_start", "stage": "gram", "done": 3, "total": 3}))
        on_event(event_of({"kind": "stage_end", "stage": "gram", "seconds": 0.0}))
        on_event(event_of({"kind": "log", "message": "Dask dashboard: http://127.0.0.1:8787"}))
        on_event(event_of({"kind": "bad_tile", "stage": "gram", "array": "gram", "i": 1, "j": 0}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "factor: started, 5000 to do, 1 done before"
    assert lines[1].startswith("factor: done in 2.0 s, ")
    assert lines[1].endswith("GFLOP/s")
    assert lines[2:] == [
        "gram: complete, reused",
        "Dask dashboard: http://127.0.0.1:8787",
        "gram: tile (1, 0) of gram is damaged; made again",
    ]
