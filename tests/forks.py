"""Running a function in a child of a fork, which may hang, for a bounded time."""

import multiprocessing
import os
import signal
import time
import traceback
import warnings

SECONDS = 30


def forked(function):
    """Call a function in a child of ``os.fork``; fail when it raises or does not end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:  # the child must not go on with the tests
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, "the child failed"
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the child was not done after {SECONDS} s")


def in_process(function):
    """Call a function in a process of ``multiprocessing`` with its start method ``fork``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=function)
        process.start()
    process.join(SECONDS)
    hung = process.is_alive()
    process.kill()
    process.join()
    assert not hung, f"the child was not done after {SECONDS} s"
    assert process.exitcode == 0, "the child failed"


WAYS = (forked, in_process)
