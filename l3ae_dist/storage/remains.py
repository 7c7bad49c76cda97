"""Marks that tell a workspace without its headers from other people's files."""

from itertools import islice

from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.documents import DocumentProblem, opened, opened_header

_LOOKED_AT = 1000


def holds_remains(blobs: Blobs) -> bool:
    """Tell whether a place holds a document, header or done-mark whose digest only this package writes.

    Costs a listing of at most the first thousand files; those that cannot be such a file are not read.
    """
    return any(_is_own(blobs, key) for key in islice(blobs.list(""), _LOOKED_AT))


def _is_own(blobs: Blobs, key: str) -> bool:
    if key.startswith(f"{layout.DONE_MARKS}/"):
        mark = layout.mark_name(key)
        return mark is not None and not mark.old
    try:
        if key == layout.GROUP_HEADER or key.endswith(f"/{layout.GROUP_HEADER}"):
            opened_header(layout.described_by(key), blobs.get(key) or b"")
        elif key == layout.document(layout.document_key(key)):
            opened(layout.document_key(key), blobs.get(key) or b"")
        else:
            return False
    except DocumentProblem:
        return False
    return True
