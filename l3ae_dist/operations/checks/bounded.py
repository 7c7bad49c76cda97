"""A call that may hang, with an end."""

import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def bounded(call: Callable[[], R], seconds: float, what: str) -> R:
    """Call in a thread of its own; after ``seconds`` the thread is left to itself.

    Parameters
    ----------
    call
        What may hang.
    seconds
        How long to wait for it.
    what
        What is waited for, in words, for the error.

    Raises
    ------
    TimeoutError
        Naming ``what``; or whatever ``call`` raises in time.
    """
    results: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="l3ae-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"{what} did not answer within {seconds:.0f} s")
    return results[0]
