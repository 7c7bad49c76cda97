"""Many processes that create one workspace at the same moment."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.storage import layout
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.workspace import Workspace

PROCESSES, ROUNDS = 8, 5
_CREATE = """
import sys, time
from l3ae_dist.errors import WorkspaceLockedError
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.workspace import Workspace
for line in sys.stdin:
    url, moment = line.split()
    while time.monotonic() < float(moment):
        pass
    try:
        workspace = Workspace.create(url)
        with WorkspaceLock(workspace, "run"):
            time.sleep(0.5)
        print("won", flush=True)
    except WorkspaceLockedError:
        print("refused", flush=True)
    except BaseException as error:
        print(repr(error), flush=True)
"""


@pytest.fixture(scope="module")
def processes(s3_environment):
    """Processes that create what they are told at the moment that they are told."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    options["env"] = {**os.environ, **s3_environment}
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", _CREATE], **options))
            for _ in range(PROCESSES)
        ]


def at_once(processes, url, moment):
    """Let all of them create one workspace; returns what each says of it."""
    for process in processes:
        process.stdin.write(f"{url} {moment}\n")
        process.stdin.flush()
    return [process.stdout.readline().strip() for process in processes]


@pytest.mark.parametrize("where", ["local", "s3"])
def test_of_processes_that_create_one_workspace_at_once_one_wins_and_none_fails(
    processes, where, tmp_path, s3_environment, monkeypatch
):
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    base = str(tmp_path) if where == "local" else f"s3://bucket/{tmp_path.name}"
    at_once(processes, f"{base}/first", 0)  # by then all of them have started
    for k in range(ROUNDS):
        url = f"{base}/w{k}"
        said = at_once(processes, url, time.monotonic() + 0.1)
        assert set(said) <= {"won", "refused"}, said
        assert "won" in said
        workspace = Workspace.open(url)
        assert list(workspace.group.array_keys()) == [layout.META]


def test_a_workspace_whose_creation_was_killed_halfway_is_completed(tmp_path):
    whole = Workspace.create(tmp_path / "whole")
    blobs = open_blobs(tmp_path / "half")
    blobs.put(layout.GROUP_HEADER, [whole.blobs.get(layout.GROUP_HEADER)])
    half = Workspace.create(tmp_path / "half")
    assert list(half.group.array_keys()) == [layout.META]


@pytest.mark.parametrize("text", ["{", json.dumps({"zarr_format": 3, "node_type": "group"})])
def test_what_is_no_workspace_is_left_as_it_is(tmp_path, text):
    (tmp_path / layout.GROUP_HEADER).write_text(text)
    with pytest.raises(WorkspaceError, match="not a workspace"):
        Workspace.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [layout.GROUP_HEADER]
