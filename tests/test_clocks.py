"""Clocks that tests replace are those of one module."""

import re
import time
from pathlib import Path

from clocks import set_monotonic

from l3ae_dist.storage import lock

# such as `setattr(lock.time, "monotonic", ...)`, `setattr(time, ...)` and `setattr("time.sleep", ...)`
WHOLE_PROCESS = re.compile(r"""setattr\(\s*(?:(?:\w+\.)*time\s*,|["']time\.)""")


def test_no_test_replaces_a_clock_of_the_whole_process():
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    assert len(sources) > 150
    assert not [
        str(path)
        for path in sources
        if WHOLE_PROCESS.search(path.read_text()) and path.name != "test_clocks.py"
    ]
    assert all(
        map(WHOLE_PROCESS.search, ('setattr(a.b.time, "x"', "setattr(time, 'x'", 'setattr("time.sleep"'))
    )


def test_a_clock_is_replaced_in_one_module_alone(monkeypatch):
    before = time.monotonic
    set_monotonic(monkeypatch, lock, lambda: 7.0)
    assert lock.time.monotonic() == 7.0
    assert lock.time.time is time.time
    assert time.monotonic is before
