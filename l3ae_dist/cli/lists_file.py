"""A file of recommendations, written batch by batch and renamed when it is complete."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal, get_args

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.messages import named, one_line, shown
from l3ae_dist.storage.partial_files import partial_name, sweep_beside

if TYPE_CHECKING:
    import pandas as pd

    from l3ae_dist.model.fitted import FittedModel


_COLUMNS = ("user_id", "item_id", "title", "rank", "score")
ListsFormat = Literal["parquet", "csv", "jsonl"]
"""Form of a file of recommendations."""
_SUFFIXES: dict[str, ListsFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(output: str, asked: str | None, *, reasons: bool) -> ListsFormat:
    """Return the form of a file: the one that is asked for, else that of its name, Parquet for any other.

    Parameters
    ----------
    output
        Path or URL.
    asked
        Form; None for that of the name.
    reasons
        Whether the lists have reasons, which lines of a CSV cannot hold.

    Raises
    ------
    ConfigError
        For another form, and for reasons in a CSV.
    """
    found = asked or _SUFFIXES.get(PurePosixPath(output.partition("?")[0]).suffix.lower(), "parquet")
    for one in get_args(ListsFormat):
        if found == one:
            if one == "csv" and reasons:
                raise ConfigError(
                    "a CSV has no place for reasons; write parquet or jsonl, or leave --reasons out."
                )
            return one  # type: ignore[no-any-return]
    raise ConfigError(f"the format is {shown(found)} but must be {named(get_args(ListsFormat))}.")


class ListsFile:
    """An open file of recommendations, to which one table after the other is appended."""

    def __init__(self, model: "FittedModel", file: IO[bytes], kind: ListsFormat, *, reasons: bool) -> None:
        self._model, self._file, self._kind, self._reasons = model, file, kind, reasons
        self._writer: pq.ParquetWriter | pa.csv.CSVWriter | None = None
        self._types: pa.Schema | None = None

    @classmethod
    @contextmanager
    def open(
        cls, model: "FittedModel", output: str, kind: ListsFormat, *, reasons: bool
    ) -> "Iterator[ListsFile]":
        """Open a file by path or URL for the recommendations of a model.

        Parameters
        ----------
        model
            Knows the types of ids and scores.
        output
            The file appears there at the end, complete; nothing remains when writing fails.
        kind
            Its form.
        reasons
            Whether the tables have a column ``reasons``.
        """
        with _complete_file(output, kind) as file:
            opened = cls(model, file, kind, reasons=reasons)
            yield opened
            opened.close()

    def write(self, frame: "pd.DataFrame") -> None:
        """Append one table; the first one decides the type of the users' ids."""
        if self._types is None:
            self._types = self._schema(frame)
        if frame["user_id"].dtype == object:  # known and unknown ones may be integers and texts
            frame = frame.assign(user_id=frame["user_id"].map(str))
        if self._kind == "csv":
            frame = frame.assign(title=frame["title"].map(_for_spreadsheets))
        table = pa.Table.from_pandas(frame, preserve_index=False).cast(self._types)
        if self._kind == "jsonl":
            rows = (json.dumps(_without_nan(row), ensure_ascii=False) for row in table.to_pylist())
            self._file.write("".join(f"{row}\n" for row in rows).encode())
            return
        if self._writer is None:
            make = pq.ParquetWriter if self._kind == "parquet" else pa.csv.CSVWriter
            self._writer = make(self._file, self._types)
        self._writer.write_table(table)

    def close(self) -> None:
        """Write the end of the file."""
        if self._writer is not None:
            self._writer.close()

    def _schema(self, frame: "pd.DataFrame") -> pa.Schema:
        """Return the schema of every batch, also of one without rows."""
        item = pa.int64() if self._model.dataset.item_ids(0, 1).dtype.kind in "iu" else pa.string()
        user = pa.int64() if frame["user_id"].dtype.kind in "iu" else pa.string()
        kinds = {"user_id": user, "item_id": item, "title": pa.string(), "rank": pa.int32()}
        kinds["score"] = pa.float32() if self._model.dtype == "float32" else pa.float64()
        if self._reasons:
            parts = {"collaborative": pa.float64(), "semantic": pa.float64(), "total": pa.float64()}
            kinds["reasons"] = pa.list_(pa.struct({"item_id": item, "title": pa.string(), **parts}))
        return pa.schema(kinds)


def _refuse_other_files(fs: fsspec.AbstractFileSystem, path: str, output: str, kind: ListsFormat) -> None:
    """Refuse to write where something else than an earlier file of recommendations is."""
    try:
        if not fs.exists(path):
            return
        if fs.isdir(path):
            raise ConfigError(f"{shown(output)} is a folder; name a file to write.")
        with fs.open(path, "rb") as file:
            names = _names(file, kind) if fs.size(path) else list(_COLUMNS)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        names = []
    if tuple(names) not in (_COLUMNS, (*_COLUMNS, "reasons")):
        raise ConfigError(
            f"{shown(output)} is there and is no file of recommendations, so it is left as it is; choose "
            "another path, or remove it first."
        )


def _names(file: IO[bytes], kind: ListsFormat) -> list[str]:
    """Return the columns of an earlier file."""
    if kind == "parquet":
        return list(pq.read_schema(file).names)
    line = file.readline().decode().strip()
    if kind == "csv":
        return [name.strip('"') for name in line.split(",")]
    row = json.loads(line)
    return list(row) if isinstance(row, dict) else []


def _without_nan(row: dict[str, object]) -> dict[str, object]:
    """Put null in the place of the score that a popular item has not."""
    score = row["score"]
    return row | {"score": None if score != score else score}


def _for_spreadsheets(title: str) -> str:
    """Put a quote before a title that a spreadsheet would take for a formula; ids stay as they are."""
    return f"'{title}" if title.startswith(("=", "+", "-", "@", "\t", "\r")) else title


@contextmanager
def _complete_file(output: str, kind: ListsFormat = "parquet") -> Iterator[IO[bytes]]:
    """Open a file that is written under another name and renamed at the end; removed when that fails."""
    try:
        fs, path = fsspec.core.url_to_fs(output)
    except (ValueError, ImportError) as error:  # an unknown scheme, or one whose package is not installed
        reason = one_line(str(error))
        raise ConfigError(f"cannot write {shown(output)} ({reason}); give a path or a known URL.") from error
    _refuse_other_files(fs, path, output, kind)
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{partial_name(name)}" if folder else partial_name(name)
    try:
        if isinstance(fs, LocalFileSystem):
            sweep_beside(Path(path))
        fs.makedirs(folder, exist_ok=True)
        with fs.open(temporary, "wb") as file:
            yield file
        fs.mv(temporary, path)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {output} ({error.strerror or error}); choose another place."
        ) from error
    finally:
        if fs.exists(temporary):
            fs.rm(temporary)
