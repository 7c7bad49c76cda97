"""The real command in odd surroundings: closed streams, limits, odd ids; one sentence and the right exit code."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from small_fits import fit

LIMITS = {"files": "ulimit -n 12", "file size": "ulimit -f 0"}


@pytest.fixture
def config(tmp_path):
    """The path of a configuration of a small job, on the cluster that is asked for."""
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(0, 60, 600), "item_id": rng.integers(0, 40, 600)}
    pd.DataFrame(log).drop_duplicates().to_parquet(tmp_path / "log.parquet")
    compute = {"threads": 1, "tile_size": 16, "dashboard": False, "workers": 1, "memory_budget": "1GiB"}

    def written(cluster="synchronous", **more):
        values = {
            "workspace": str(tmp_path / "w"),
            "data": {"interactions": str(tmp_path / "log.parquet"), **more},
            "model": {"name": "ease", "reg_x": 5},
            "compute": {**compute, "cluster": cluster},
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
        return str(tmp_path / "c.yaml")

    return written


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    where = tmp_path_factory.mktemp("process") / "w"
    fit(where)
    return where


def command(*arguments, shell="exec", ends="", **variables):
    """Run the command from a shell that sets its limits and streams; returns code, output and error."""
    script = f'{shell} "$@" {ends}'
    run = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "l3ae_dist", *arguments],
        capture_output=True,
        env={**os.environ, "COLUMNS": "300", **variables},
        timeout=60,
    )
    out, err = (text.decode(errors="backslashreplace") for text in (run.stdout, run.stderr))
    assert "Traceback" not in err
    assert "internal error" not in err
    return run.returncode, out, err


@pytest.mark.parametrize("ends", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_does_no_harm(workspace, ends):
    assert command("status", workspace, ends=ends)[0] == 0


def test_output_that_cannot_be_written_is_said(workspace):
    code, _, err = command("status", workspace, ends=">/dev/full")
    assert code == 4
    assert err.startswith("error: the system refused a file or a connection: No space left on device")


def test_who_reads_the_output_may_end(workspace):
    _, _, err = command("status", workspace, ends="| head -1")
    assert err == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_of_another_encoding_is_escaped(workspace, encoding):
    odd = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    assert command("recommend", workspace, "1", **odd)[0] == 0
    code, _, err = command("recommend", workspace, "\u20ac", **odd)
    assert (code, err.count("\n")) == (3, 1)


@pytest.mark.parametrize(
    "odd", ["", "x" * 100_000, "9" * 5000, os.fsdecode(b"\xff\xfe"), "a\nb", "\x1b]0;x\x07"]
)
def test_an_odd_id_is_an_id_that_nobody_has(workspace, odd):
    code, _, err = command("recommend", workspace, odd)
    assert (code, err.count("\n")) == (3, 1)
    assert "not among the 60 known users" in err
    assert len(err) < 400


def test_an_id_that_begins_with_a_dash_is_told_where_to_stand(workspace):
    code, _, err = command("recommend", workspace, "-5")
    assert code == 2
    assert "An id that begins with a dash follows after --" in err
    assert command("recommend", workspace, "--", "-5")[0] == 3


@pytest.mark.parametrize("variables", [{"HOME": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"HOME": ""}])
def test_no_home_and_no_temporary_folder_are_needed_to_recommend(workspace, variables):
    assert command("recommend", workspace, "1", **variables)[0] == 0


def test_a_limit_of_the_size_of_files_is_said(workspace, tmp_path):
    shell = f"{LIMITS['file size']}; exec"
    code, _, err = command("recommend", workspace, "1", "--output", tmp_path / "out.parquet", shell=shell)
    assert (code, err.count("\n")) == (4, 1)
    assert "File too large" in err


@pytest.mark.parametrize("files", [32, 64, 128])
def test_few_open_files_are_enough_for_what_answers(workspace, files):
    shell = f"ulimit -n {files}; exec"
    assert command("status", workspace, shell=shell)[0] == 0
    assert command("recommend", workspace, "1", shell=shell)[0] == 0


@pytest.mark.dask
@pytest.mark.parametrize("cluster", ["synchronous", "local"])
def test_too_few_open_files_for_a_run_are_a_sentence_if_they_are(config, cluster):
    code, _, err = command("run", config(cluster), shell="ulimit -n 32; exec")
    if code != 0:  # what is open already depends on the machine
        assert (code, err.count("error:")) == (4, 1)
        assert "pen files" in err
        assert "ulimit -n" in err


def test_a_file_that_grows_over_the_limit_is_told_with_the_limit(config):
    code, _, err = command("run", config(), shell="ulimit -f 3; exec")
    assert code == 4, err
    last = err.splitlines()[-1]
    assert "File too large" in last
    assert "ulimit -f" in last


def test_a_home_that_cannot_be_written_does_no_harm(config, workspace):
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"), "/proc/1/none")
    assert command("recommend", workspace, "1", **nowhere)[0] == 0
    code, _, err = command("run", config(), **nowhere)
    assert code == 0, err


@pytest.mark.parametrize("name", ["workspace", "model.name", "data.items"])
def test_a_lone_surrogate_in_a_value_is_a_sentence(config, name):
    code, _, err = command("run", config(), "--set", f"{name}={os.fsdecode(bytes([255]))}")
    assert (code, err.count("\n")) == (2, 1)
    assert "not valid YAML" in err


def test_a_lone_surrogate_in_a_title_is_a_sentence_or_shown_neutral(config, tmp_path):
    rows = (f'{{"item_id": {item}, "title": "a\\ud800b{item}"}}\n' for item in range(40))
    (tmp_path / "items.jsonl").write_text("".join(rows))
    code, _, err = command("run", config(items=str(tmp_path / "items.jsonl")))
    if code == 0:
        code, out, err = command("recommend", str(tmp_path / "w"), "1")
        assert code == 0, err
        assert "\ud800" not in out
    else:
        assert code == 3, err
        assert err.splitlines()[-1].startswith("error: ")


_INTERRUPTED_AT_ITS_END = """
import atexit, importlib, os, signal, sys

app = importlib.import_module("l3ae_dist.cli.app")
interrupt = lambda kill=os.kill, pid=os.getpid(), number=signal.SIGINT: kill(pid, number)

class Last:
    def __del__(self, interrupt=interrupt):
        interrupt()

def prepare(before=app.prepare_process):
    before()
    if {early}:
        atexit.register(interrupt)

last, app.prepare_process = Last(), prepare  # goes when the interpreter takes modules apart
sys.argv = ["l3ae-dist", {argument!r}]
app.main()
"""


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--no-such-option", 2)])
@pytest.mark.parametrize("early", [True, False])
def test_an_interruption_after_the_outcome_leaves_it_as_it_is(argument, code, early):
    program = _INTERRUPTED_AT_ITS_END.format(argument=argument, early=early)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert (done.stdout if code == 0 else done.stderr).strip()
