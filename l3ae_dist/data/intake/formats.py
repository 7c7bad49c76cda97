"""Formats of files, by the ends of their names and by their first bytes."""

import re
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from l3ae_dist.config.data import Compression
from l3ae_dist.data.intake.files import Format, SourceFile, is_url, shortened
from l3ae_dist.errors import DataError

SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".csv": Format.DELIMITED,
    ".tsv": Format.DELIMITED,
    ".txt": Format.DELIMITED,
    ".dat": Format.DELIMITED,
    ".data": Format.DELIMITED,
    ".inter": Format.DELIMITED,
    ".item": Format.DELIMITED,
    ".user": Format.DELIMITED,
    ".base": Format.DELIMITED,
    ".test": Format.DELIMITED,
    ".tab": Format.DELIMITED,
    ".psv": Format.DELIMITED,
    ".jsonl": Format.JSON,
    ".ndjson": Format.JSON,
    ".json": Format.JSON,
}
"""Ends of names of files that are read."""
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".zip": "zip"}
"""Ends of names of compressed text."""
READ = (
    ".parquet, .arrow, .feather, .ipc and, also with .gz, .zst, .bz2 or .zip, "
    ".csv, .tsv, .tab, .psv, .txt, .dat, .data, .inter, .item, .user, .base, .test, .jsonl, .ndjson, .json"
)
"""Endings of all that is read, for messages."""
_EXPORT = "write it as Parquet or CSV"
_UNPACK = "unpack it"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A format that is not read.

    Parameters
    ----------
    name
        Its name with the article.
    advice
        What to do with it.
    """

    name: str
    advice: str


_EXCEL = Foreign("an Excel workbook", "save the sheet as CSV, or hand over pandas.read_excel(path)")
_PICKLE = Foreign("a pickle", "load it where you trust it, and hand over the object")
_SQLITE = Foreign("a SQLite database", "hand over pandas.read_sql(query, connection)")
_ORC = Foreign("an ORC file", "hand over pyarrow.orc.read_table(path)")
_AVRO = Foreign("an Avro file", _EXPORT)
_HDF5 = Foreign("an HDF5 file", "hand over pandas.read_hdf(path)")
_ARCHIVE = Foreign("an archive", _UNPACK)
_XZ = Foreign("compressed with xz", f"{_UNPACK}, or compress it with gzip or zstd")
_LZ4 = Foreign("compressed with LZ4", f"{_UNPACK}, or compress it with gzip or zstd")
FOREIGN = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb"), _EXCEL),
    ".ods": Foreign("an OpenDocument sheet", "save it as CSV"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), _SQLITE),
    ".duckdb": Foreign("a DuckDB database", "export the table: COPY name TO 'name.parquet'"),
    ".orc": _ORC,
    ".avro": _AVRO,
    **dict.fromkeys((".h5", ".hdf", ".hdf5"), _HDF5),
    **dict.fromkeys((".npy", ".npz"), Foreign("a file of NumPy", "load it and hand over the array")),
    ".mat": Foreign("a file of MATLAB", "hand over the matrix of scipy.io.loadmat(path)"),
    ".mtx": Foreign("a Matrix Market file", "hand over scipy.io.mmread(path)"),
    **dict.fromkeys((".sas7bdat", ".xpt"), Foreign("a SAS file", "hand over pandas.read_sas(path)")),
    ".dta": Foreign("a Stata file", "hand over pandas.read_stata(path)"),
    ".sav": Foreign("an SPSS file", "hand over pandas.read_spss(path)"),
    **dict.fromkeys((".rds", ".rdata"), Foreign("a file of R", _EXPORT)),
    ".xml": Foreign("an XML file", "hand over pandas.read_xml(path)"),
    ".lance": Foreign("a Lance table", "hand over its Arrow table: lance.dataset(path).to_table()"),
    **dict.fromkeys((".tar", ".tgz", ".tbz2", ".7z", ".rar"), _ARCHIVE),
    **dict.fromkeys((".xz", ".lzma"), _XZ),
    ".lz4": _LZ4,
}
"""Ends of names of tables and archives that are not read."""

# First bytes. A zip is told by its name alone, since a workbook is one too.
_MAGIC: tuple[tuple[bytes, Format | Compression | Foreign], ...] = (
    (b"PAR1", Format.PARQUET),
    (b"ARROW1", Format.ARROW),
    (b"\xff\xff\xff\xff", Format.ARROW),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PARE", Foreign("an encrypted Parquet file", "decrypt it")),
    (b"FEA1", Foreign("a file of the first Feather format", "write it with pyarrow.feather.write_feather")),
    (b"SQLite format 3\0", _SQLITE),
    (b"ORC", _ORC),
    (b"Obj\x01", _AVRO),
    (b"\x89HDF\r\n\x1a\n", _HDF5),
    (b"\xd0\xcf\x11\xe0", _EXCEL),
    (b"\x93NUMPY", FOREIGN[".npy"]),
    (b"\xfd7zXZ\0", _XZ),
    (b"\x04\x22\x4d\x18", _LZ4),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a", _ARCHIVE),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
)
_PAGE = Foreign("a web page and no table", "download the file itself")
# Openings of texts that are no tables, in lower case.
_TEXT_MAGIC = (
    (b"version https://git-lfs", Foreign("a pointer of Git LFS", "fetch the file with git lfs pull")),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
    (b"<?xml", FOREIGN[".xml"]),
    (b"%pdf-", Foreign("a PDF", "write the table as CSV")),
)
_BZ2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*\"")
BAD_ZIP = (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile)
"""Errors of the standard library for archives that are damaged, or of a kind that it does not read."""
HEAD = 64
"""Bytes of a file that tell what it is."""


def suffix_of(path: str) -> str:
    """Return the ending of a name that tells the format, in lower case, without that of a compression.

    >>> suffix_of("log.TSV.gz")
    '.tsv'
    """
    name = _file_name(path)
    return PurePosixPath(name.stem).suffix if name.suffix in COMPRESSIONS else name.suffix


def _file_name(path: str) -> PurePosixPath:
    """Return the name of a file in lower case, without the query of a web address."""
    path = path.partition("::")[0] if is_url(path) else path
    path = urlsplit(path).path if is_url(path) and path.startswith("http") else path
    return PurePosixPath(path.lower())


def is_data(path: str) -> bool:
    """Tell whether a file of this name is read where a folder holds it."""
    suffix = suffix_of(path)
    return suffix in SUFFIXES or (not suffix and _file_name(path).suffix in COMPRESSIONS)


def is_columnar(path: str) -> bool:
    """Tell whether a file has the name of a Parquet or Arrow file."""
    return SUFFIXES.get(suffix_of(path)) in (Format.PARQUET, Format.ARROW)


def foreign(path: str) -> Foreign | None:
    """Return the format of a table that is not read, by the name of its file; None for all others."""
    return FOREIGN.get(_file_name(path).suffix) or FOREIGN.get(suffix_of(path))


def is_foreign_table(path: str) -> bool:
    """Tell whether a file that is not read holds rows for sure, so that a folder is not read without it."""
    return foreign(path) in (_EXCEL, _ORC, _AVRO, _XZ, _LZ4)


def unknown(path: str) -> DataError:
    """Make an error for a file whose name tells no format that is read."""
    if (known := foreign(path)) is not None:
        return refusal(path, known)
    return DataError(f"the name of {shortened(path)} tells no format that is read; read are {READ}.")


def in_format(file: SourceFile, head: bytes) -> SourceFile:
    """Return a file with its format: by its content, or else by its name.

    Parameters
    ----------
    file
        The file as it was found.
    head
        Its first :data:`HEAD` bytes.

    Raises
    ------
    DataError
        For what is no table or cannot be read.
    """
    suffix, content = suffix_of(file.path), _content(head)
    if isinstance(content, Foreign):
        raise refusal(file.path, content)
    if isinstance(content, Format):
        return replace(file, format=content, suffix=suffix)
    if foreign(file.path) is not None:
        raise unknown(file.path)
    if content is not None:
        return _compressed(file, suffix, content)
    if suffix not in SUFFIXES and not is_data(file.path):
        raise unknown(file.path)
    plain = SUFFIXES.get(suffix) or _format_of_text(head)
    if plain is Format.DELIMITED and _OBJECT.match(head):  # no header of delimited text begins so
        plain = Format.JSON
    if head and plain in (Format.PARQUET, Format.ARROW):
        raise DataError(
            f"{file.name} is no {plain} file, whatever its name says: it begins with {_shown(head)}; "
            "write it again, or name it after its format."
        )
    return replace(file, format=plain, suffix=suffix)


def refusal(path: str, kind: Foreign) -> DataError:
    """Make an error for a file in a format that is not read."""
    return DataError(f"{shortened(path)} is {kind.name}, which is not read; {kind.advice}.")


def _shown(head: bytes) -> str:
    return repr(head[:24].decode("utf-8", "backslashreplace"))


def _content(head: bytes) -> Format | Compression | Foreign | None:
    opening = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kind: Format | Compression | Foreign | None
    for magic, kind in _TEXT_MAGIC:
        if opening.startswith(magic):
            return kind
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    # a header such as ORCID,PARENT_ID begins as some formats do
    is_text = kind == "bz2" or all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return None if is_text and not _BZ2.match(head) else kind


def _format_of_text(head: bytes) -> Format:
    return Format.JSON if head.lstrip()[:1] in (b"{", b"[") else Format.DELIMITED


def _compressed(file: SourceFile, suffix: str, compression: Compression) -> SourceFile:
    if compression == "zip":
        suffix = _suffix_in_zip(file) or suffix
    elif not suffix:
        return replace(
            file, format=_format_of_text(_unpacked_head(file, compression)), compression=compression
        )
    kind = SUFFIXES.get(suffix)
    if kind is None and not is_data(file.path):
        raise unknown(file.path)
    if kind in (Format.PARQUET, Format.ARROW):
        raise DataError(
            f"{file.name} is a compressed {kind} file; unpack it, it has a compression of its own."
        )
    return replace(file, format=kind or Format.DELIMITED, suffix=suffix, compression=compression)


def _unpacked_head(file: SourceFile, compression: Compression) -> bytes:
    import pyarrow as pa

    try:
        with file.open() as raw, pa.CompressedInputStream(raw, compression) as stream:
            return bytes(stream.read(HEAD))
    except (OSError, pa.ArrowException):  # who reads all of it says what is wrong
        return b""


def _suffix_in_zip(file: SourceFile) -> str:
    """Return the ending of the names of the data in an archive; the empty string for none."""
    try:
        with file.seekable() as raw, zipfile.ZipFile(raw) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except BAD_ZIP:  # who reads it says what is wrong
        return ""
    if "[Content_Types].xml" in names:
        raise refusal(file.path, _EXCEL)
    return next((suffix_of(name) for name in names if is_data(name)), "")
