"""The file by which a Dask scheduler tells where it listens."""

import contextlib
import json
import time


def address_in(file, timeout=60):
    """Wait for the address that a scheduler writes to its file, which is there before it is whole."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(file.read_text())["address"]
        assert time.monotonic() < deadline, f"no address in {file}"
        time.sleep(0.05)
