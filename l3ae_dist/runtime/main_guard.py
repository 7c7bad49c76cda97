"""Scripts that fit outside of ``if __name__ == "__main__":``, which every worker process runs again."""

import ast
import multiprocessing
import sys
from pathlib import Path
from types import FrameType


def end_if_imported_by_worker() -> None:
    """End a worker process that runs the call of the script which started it; the script says why."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


def call_is_unguarded() -> bool:
    """Tell whether the script that is being run calls outside of any test of ``__name__``."""
    main = sys.modules["__main__"]
    path, line = getattr(main, "__file__", None), _line_of(vars(main))
    if path is None or line is None:
        return False
    try:
        body = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    calls = [one for one in body if one.lineno <= line <= (one.end_lineno or one.lineno)]
    return not any(isinstance(one, ast.If) and "__name__" in ast.dump(one.test) for one in calls)


def _line_of(variables: dict[str, object]) -> int | None:
    """Return the line of a module, known by its variables, that is being run further up the stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is variables and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None
