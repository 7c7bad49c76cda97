"""Header of an exported model: what the export is, and size and digest of each of its other files."""

import hashlib
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from l3ae_dist.errors import DamagedDocumentError, WorkspaceError, WorkspaceVersionError
from l3ae_dist.messages import shown
from l3ae_dist.storage.documents import DocumentProblem, opened, parsed

FORMAT = "l3ae-dist weights"
FORMAT_VERSION = 2
_LONGEST_HEADER = 2**20
# Headers of that version carry no digest.
_WITHOUT_DIGEST = 1
HEADER, WEIGHTS, ITEMS = "header.json", "weights.npz", "items.npz"


class FileDigest(TypedDict):
    """Size and SHA-256 digest of a file of an export."""

    bytes: int
    sha256: str


class ExportHeader(TypedDict):
    """The ``header.json`` of an export."""

    format: str
    format_version: int
    package_version: str
    model: str
    params: dict[str, float | str]
    k: int | Literal["all"]
    n_items: int
    entries: int
    dtype: str
    certificate: dict[str, float | str]
    files: NotRequired[dict[str, FileDigest]]
    """The other files, by which a later export knows the folder; exports of older versions have none."""


def read_export_header(folder: Path) -> ExportHeader:
    """Read the header of an export.

    Raises
    ------
    WorkspaceError
        When there is none.
    DamagedDocumentError
        When it was edited or damaged.
    WorkspaceVersionError
        When another version of the format wrote it.
    """
    try:
        with (folder / HEADER).open("rb") as file:
            data = file.read(_LONGEST_HEADER)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} is not an exported model ({error}); make one with `l3ae-dist export`."
        ) from error
    try:
        header = parsed(data)
        if header.get("format") != FORMAT:
            raise WorkspaceError(f"{folder / HEADER} is not that of an exported model; check the path.")
        if (version := header.get("format_version")) not in (FORMAT_VERSION, _WITHOUT_DIGEST):
            raise WorkspaceVersionError(
                f"{folder} has export format {shown(version)}, this version reads "
                f"{_WITHOUT_DIGEST} and {FORMAT_VERSION}; export the model again."
            )
        return cast("ExportHeader", opened(HEADER, data, required=version == FORMAT_VERSION))
    except DocumentProblem as error:
        raise DamagedDocumentError(
            f"{folder / HEADER} {error}; export the model again.", path=HEADER
        ) from error


def check_export_files(folder: Path, header: ExportHeader) -> None:
    """Refuse an export one of whose files is not the one that its header lists."""
    for name, written in header.get("files", {}).items():
        if (folder / name).exists() and file_digest(folder / name) != written:
            raise WorkspaceError(
                f"{folder / name} is damaged or of another export (it does not fit {HEADER}); export the "
                "model again."
            )


def file_digest(path: Path) -> FileDigest:
    """Return size and SHA-256 digest of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
