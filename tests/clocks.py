"""Other clocks for a module under test; those of the process stay as they are."""

import time
from types import SimpleNamespace


def set_monotonic(monkeypatch, module, monotonic):
    """Give one module another ``time.monotonic``.

    Event loops of the same process read ``time.monotonic`` too: one that it jumps for waits for ever.
    """
    monkeypatch.setattr(module, "time", SimpleNamespace(**(vars(time) | {"monotonic": monotonic})))
