"""Tables from files, URLs or DataFrames, one bounded partition at a time."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import fsspec

from l3ae_dist.data.tables import Frame, Table
from l3ae_dist.errors import DataError
from l3ae_dist.storage.credentials import refuse_secrets
from l3ae_dist.storage.fingerprint import fingerprint

_SUFFIXES = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "json",
    ".ndjson": "json", ".json": "json",
}  # fmt: skip
_BLOCK_BYTES = "64MiB"


def is_frame(source: object) -> TypeGuard[Frame]:
    """Tell whether ``source`` is a pandas or Dask DataFrame."""
    return hasattr(source, "columns") and hasattr(source, "dtypes")


def expand(source: str | Path) -> list[str]:
    """List the files behind a path, glob, directory or fsspec URL, sorted.

    Raises
    ------
    DataError
        When there is none.
    ConfigError
        For a URL that carries credentials or a signature.
    """
    text = str(source)
    refuse_secrets(text, "data")
    fs, path = fsspec.core.url_to_fs(text)
    if any(mark in text for mark in "*?["):
        found = (
            sorted(glob.glob(path)) if fs.protocol in ("file", ("file", "local")) else sorted(fs.glob(path))
        )
    elif not fs.exists(path):
        raise DataError(f"no file at {text}; check the path.")
    elif fs.isdir(path):
        found = sorted(name for name in fs.find(path) if Path(name).suffix.lower() in _SUFFIXES)
    else:
        found = [path]
    if not found:
        raise DataError(f"{text} names no Parquet, CSV or JSON Lines file; check the path or the pattern.")
    return [fs.unstrip_protocol(name) if "://" in text else name for name in found]


def describe(source: "Table | None") -> list[str] | list[list[object]] | None:
    """Return what identifies a table: content hash of a DataFrame; name, size and time of files."""
    if source is None:
        return None
    if is_frame(source):
        return [_hash_frame(part) for part in partitions(source, None, "table")]
    entries: list[list[object]] = []
    for name in expand(source):
        fs, path = fsspec.core.url_to_fs(name)
        info = fs.info(path)
        stamp = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified")
        entries.append([name, info.get("size"), str(stamp)])
    return entries


def _hash_frame(frame: Frame) -> str:
    import pandas as pd

    try:
        hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    except TypeError:  # a column of lists, say, which have no hash
        plain = {name: frame[name].map(_written) for name in frame.columns if frame[name].dtype == object}
        hashes = pd.util.hash_pandas_object(frame.assign(**plain), index=False).to_numpy()
    return fingerprint([list(map(str, frame.columns)), len(frame), hashes.tobytes().hex()])


def _written(value: object) -> str:
    return repr(value.tolist() if hasattr(value, "tolist") else value)


def partitions(
    source: Table, columns: Sequence[str] | None, what: str, text: Sequence[str] = ()
) -> Iterator[Frame]:
    """Yield a table as pandas DataFrames with the wanted columns, one bounded partition at a time.

    Parameters
    ----------
    source
        pandas or Dask DataFrame, path, glob, directory or fsspec URL.
    columns
        Columns needed; all when None.
    what
        What the table is called in errors.
    text
        Columns that CSV files give as they are written, with leading zeros and all.

    Raises
    ------
    DataError
        For a missing column (naming those that exist), an unreadable or empty table.
    """
    frame = _open(source, what, text)
    names = [str(name) for name in frame.columns]
    if not names:
        raise DataError(f"the {what} are empty; give a table with at least one row.")
    for column in columns or ():
        if column not in names:
            raise DataError(
                f"the {what} have no column {column!r}; they have {', '.join(names)}; "
                "name the column in the data options."
            )
    if columns is not None:
        frame = frame[list(dict.fromkeys(columns))]
    total = 0
    for part in _pandas_parts(frame):
        total += len(part)
        yield part
    if not total:
        raise DataError(f"the {what} are empty; give a table with at least one row.")


def column_names(source: Table, what: str) -> list[str]:
    """Return the names of a table's columns; rows are not read."""
    return [str(name) for name in _open(source, what).columns]


def _open(source: Table, what: str, text: Sequence[str] = ()) -> Frame:
    if is_frame(source):
        return source
    import dask.dataframe as dd

    files = expand(source)
    kinds = {_SUFFIXES.get(Path(name).suffix.lower(), "?") for name in files}
    if len(kinds) > 1 or "?" in kinds:
        raise DataError(f"the {what} at {source} are not all Parquet, CSV or JSON Lines; convert them.")
    kind = kinds.pop()
    try:
        if kind == "parquet":
            return dd.read_parquet(files)
        if kind == "json":
            # values keep the type that JSON gives them: "007" is text, 7 a number
            return dd.read_json(files, lines=True, blocksize=2**26, dtype=False)
        separator, types = "\t" if kind == "tsv" else ",", dict.fromkeys(text, str)
        return dd.read_csv(files, blocksize=_BLOCK_BYTES, sep=separator, dtype=types)
    except Exception as error:
        if "empty" in str(error).lower() or "No columns" in str(error):
            raise DataError(f"the {what} at {source} are empty; give a table with rows.") from error
        raise DataError(f"cannot read the {what} at {source} ({_first_line(error)}).") from error


def _pandas_parts(frame: Frame) -> Iterator[Frame]:
    if not hasattr(frame, "npartitions"):
        yield frame
        return
    for i in range(frame.npartitions):
        try:
            yield frame.partitions[i].compute(scheduler="synchronous")
        except Exception as error:
            mixed = "Mismatched dtypes" in str(error)
            hint = (
                "set data.options.id_type to string if an id column holds text" if mixed else "check the file"
            )
            raise DataError(f"cannot read partition {i} ({_first_line(error)}); {hint}.") from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
