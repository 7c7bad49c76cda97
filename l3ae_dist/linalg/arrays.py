"""Names for NumPy's arrays in signatures."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""An array of any dtype; shape and dtype stand in the docstring."""
Integers: TypeAlias = npt.NDArray[np.int64]
"""Positions and counts."""
Floats: TypeAlias = npt.NDArray[np.float64]
"""Double precision."""
Matrix: TypeAlias = Any
"""A dense array or a SciPy sparse matrix, for which SciPy has no types."""
