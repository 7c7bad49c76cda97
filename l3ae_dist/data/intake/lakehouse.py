"""Folders of tables that only their own library may read, since some of the files in them hold no rows."""

import os
from collections.abc import Sequence

from l3ae_dist.data.intake.files import is_url, shortened
from l3ae_dist.data.intake.listing import Entry, find_entry
from l3ae_dist.errors import DataError

_DELTA = (
    "a Delta table; some of its files are deleted rows: hand over "
    "deltalake.DeltaTable(path).to_pyarrow_table()"
)
_ICEBERG = (
    "an Iceberg table; some of its files are deleted rows: hand over "
    "pyiceberg.table.StaticTable.from_metadata(path).scan().to_arrow()"
)
_HUDI = "a Hudi table; its files hold old rows too: hand over the result of a query"
_LANCE = "a Lance table: hand over lance.dataset(path).to_table()"


def refuse_lakehouse(folder: str, entries: Sequence[Entry]) -> None:
    """Raise :class:`DataError` for a folder that is a table of Delta, Iceberg, Hudi or Lance, or of splits.

    Parameters
    ----------
    folder
        Path or URL of the folder.
    entries
        Its files and folders.
    """
    for entry in entries:
        kind = _kind(entry)
        if kind is not None:
            raise DataError(f"{shortened(folder)} is {kind}, or export it as Parquet.")
        if entry.name == "dataset_dict.json":
            names = shortened(", ".join(one.name for one in entries if one.is_folder))
            raise DataError(
                f"{shortened(folder)} holds the splits {names} of a data set; give the folder of one."
            )


def _kind(entry: Entry) -> str | None:
    match entry.name:
        case "_delta_log" if entry.is_folder:
            return _DELTA
        case ".hoodie" if entry.is_folder:
            return _HUDI
        case "metadata" if entry.is_folder:
            return _ICEBERG if any(one.name.endswith(".metadata.json") for one in entry.children()) else None
        case "_versions" if entry.is_folder:
            return _LANCE
    return None


def refuse_lakehouse_above(path: str) -> None:
    """Raise :class:`DataError` where a local folder is a partition or the data of a table above it.

    A partition has a name ``key=value``; the data of Iceberg are in a folder ``data``.
    """
    folder = path.rstrip("/")
    while not is_url(folder) and ("=" in (name := os.path.basename(folder)) or name == "data"):
        folder = os.path.dirname(folder)
        for marker in ("_delta_log", ".hoodie", "metadata"):
            entry = find_entry(os.path.join(folder, marker))
            if entry is not None:
                refuse_lakehouse(folder, [entry])
