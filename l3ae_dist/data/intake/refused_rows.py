"""The row that a refused value stands in, found by reading ever shorter beginnings of a table again."""

from collections.abc import Callable

from l3ae_dist.errors import DataError


def naming_row(error: DataError, read: Callable[[int], object], count: int, before: int = 0) -> DataError:
    """Return an error for some rows that names the first of them that cannot be read.

    Costs about log2(count) readings.

    Parameters
    ----------
    error
        What was raised for all rows.
    read
        Reads the given number of the first rows, or raises ``DataError``.
    count
        Number of rows.
    before
        Rows of the part that stand before them.
    """
    low, high = 0, count  # the first row that is refused stands after ``low`` rows, and within ``high``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _refused(read, middle) else (middle, high)
    return DataError(f"{str(error).removesuffix('.')} (row {before + high:,}, the header not counted).")


def _refused(read: Callable[[int], object], count: int) -> bool:
    try:
        read(count)
    except DataError:
        return True
    return False
