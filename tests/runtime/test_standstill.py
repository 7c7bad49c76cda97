"""A process that everything waits for: told when it stands still, and the end of the run when it stays so."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.backends import standstill
from l3ae_dist.runtime.backends.standstill import Needed
from l3ae_dist.runtime.bounded import Inquiry


@contextlib.contextmanager
def asleep():
    """A process that does nothing, for the ``with`` block."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def limits(monkeypatch):
    """Tenths of a second where seconds pass otherwise."""
    monkeypatch.setattr(standstill, "STOPPED_SECONDS", 0.3)
    monkeypatch.setattr(standstill, "_STOPPED_UNTIL_SECONDS", 1.5)
    monkeypatch.setattr(standstill, "_UNANSWERED_SECONDS", 0.3)
    monkeypatch.setattr(standstill, "_UNANSWERED_UNTIL_SECONDS", 1.5)


def look_until(needed, condition):
    while not condition():
        needed.look()
        time.sleep(0.05)


def test_a_stopped_process_is_told_and_then_ends_the_run(limits):
    said = []
    with asleep() as process:
        needed = Needed("the scheduler", pid=process.pid, report=said.append)
        os.kill(process.pid, signal.SIGSTOP)
        look_until(needed, lambda: said)
        (told,) = said
        assert f"the scheduler (pid {process.pid} of this machine) has stood still since " in told["message"]
        assert f"(kill -CONT {process.pid})" in told["message"]
        os.kill(process.pid, signal.SIGCONT)
        look_until(needed, lambda: len(said) > 1)
        assert said[1]["message"] == "the scheduler goes on"
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ClusterError, match=r"stopped by a signal; .* what was finished is kept\.$"):
            look_until(needed, lambda: False)
        needed.kept.in_memory = ("L",)
        with pytest.raises(ClusterError, match=r"what was finished is kept but for tiles of L in memory"):
            look_until(needed, lambda: False)
        assert len(said) == 3


def test_a_process_that_does_not_answer_is_told_and_then_ends_the_run(limits):
    said, answers = [], threading.Event()
    answers.set()
    needed = Needed("the scheduler", pid=None, ask=answers.wait, report=said.append)
    found = []
    look_until(needed, lambda: found.append(needed.look()) or True in found)
    answers.clear()
    with pytest.raises(
        ClusterError, match=r"the scheduler has not answered since [\d:]+; see what stopped it"
    ):
        look_until(needed, lambda: False)
    assert re.search(r"the run ends in \d s, unless it goes on", said[0]["message"])
    answers.set()


def test_a_process_that_stood_still_itself_has_not_waited(limits, monkeypatch):
    """As after Ctrl-Z, or the sleep of a laptop: the clock has gone on, and nobody could have answered."""
    monkeypatch.setattr(standstill, "_LONGEST_LOOK_SECONDS", 0.1)
    answers = threading.Event()
    needed = Needed("the scheduler", pid=None, ask=answers.wait, report=pytest.fail)
    assert needed.look() is None
    time.sleep(2)
    assert needed.look() is None  # and nothing is reported, which would fail
    answers.set()


def test_an_error_is_an_answer():
    inquiry = Inquiry(lambda: 1 / 0)
    inquiry.look()
    while not inquiry.answered:
        assert inquiry.look() is None
