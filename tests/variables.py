"""Variables of the environment that a test must leave as it finds them."""

import contextlib
import os

# What this package, its engines and its stores are told by; libraries set others when they are imported.
TOLD = (
    "AWS_",
    "DASK_",
    "L3AE_",
    "MKL_",
    "OMP_",
    "OPENBLAS_",
    "PYTHONPATH",
    "PYTHONWARNINGS",
    "RAY_",
    "TMPDIR",
)
SET_BY_IMPORT = {"RAY_CLIENT_MODE"}


def told():
    """Return the variables that later tests and their processes would be told by."""
    names = {name for name in os.environ if name.startswith(TOLD)} - SET_BY_IMPORT
    return {name: os.environ[name] for name in names}


@contextlib.contextmanager
def left_as_found():
    """Undo changes of the ``with`` block, and say which they were."""
    before = told()
    yield
    after = told()
    left = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    for name in left:
        os.environ.pop(name, None)
    os.environ.update({name: before[name] for name in left if name in before})
    assert not left, f"these variables are left changed: {', '.join(left)}"
