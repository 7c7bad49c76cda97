"""A workspace of somebody else names nothing outside itself, and nobody else reads one's own."""

import contextlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from small_fits import fit

from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import load_export
from l3ae_dist.storage import layout
from l3ae_dist.storage.documents import DIGEST, sealed
from l3ae_dist.storage.export_header import HEADER, file_digest
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.workspace import Workspace

OUTSIDE = [
    "../victim/secret",
    "/etc/passwd",
    "a/../../victim",
    "..",
    ".",
    "",
    "a//b",
    "a/./b",
    "a\\..\\b",
    "a\0b",
    "/",
]


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim" / "secret" / "c"
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"private")
    return folder / "0"


@pytest.mark.parametrize("key", OUTSIDE)
def test_keys_that_leave_a_store_are_refused_by_every_operation(tmp_path, victim, key):
    blobs = LocalBlobs(tmp_path / "w")
    calls = {
        "get": lambda: blobs.get(key),
        "get_into": lambda: blobs.get_into(key, memoryview(bytearray(8))),
        "range_into": lambda: blobs.range_into(key, 0, memoryview(bytearray(8))),
        "tail": lambda: blobs.tail(key, 4),
        "size": lambda: blobs.size(key),
        "put": lambda: blobs.put(key, [b"x"]),
        "put_if_absent": lambda: blobs.put_if_absent(key, b"x"),
        "copy to": lambda: blobs.copy("a", key),
        "copy from": lambda: blobs.copy(key, "a"),
        "delete": lambda: blobs.delete(key),
        "delete_prefix": lambda: blobs.delete_prefix(key),
    }
    for call in calls.values():
        with pytest.raises(WorkspaceError, match="no place within a workspace"):
            call()
    if key:
        with pytest.raises(WorkspaceError, match="no place within a workspace"):
            list(blobs.list(key))
    assert victim.read_bytes() == b"private"


def test_links_that_leave_a_store_are_refused_and_links_within_are_followed(tmp_path, victim):
    blobs = LocalBlobs(tmp_path / "w")
    blobs.put("real/a", [b"a"])
    for name, target in (("file", victim), ("folder", victim.parent), ("inner", tmp_path / "w/real")):
        os.symlink(target, tmp_path / "w" / name)
    assert blobs.get("inner/a") == b"a"
    for key in ("file", "folder/0"):
        with pytest.raises(WorkspaceError, match="a link that leads out of the workspace"):
            blobs.get(key)
        with pytest.raises(WorkspaceError, match="a link that leads out of the workspace"):
            blobs.put(key, [b"x"])
    assert victim.read_bytes() == b"private"
    # the place of the workspace itself may be a link
    os.symlink(tmp_path / "w", tmp_path / "way")
    assert LocalBlobs(tmp_path / "way").get("real/a") == b"a"


PLACES = {
    "an array": lambda document, path: document["arrays"].update(c=path),
    "the Gram matrix": lambda document, path: document["arrays"].update(P=path),
    "the data": lambda document, path: document.update(dataset=path),
    "the features": lambda document, path: document.update(embedding=path),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_model_that_names_a_place_outside_its_workspace_copies_nothing_out(tmp_path, victim, place):
    fit(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    document = workspace.read_doc(layout.CURRENT_MODEL)
    PLACES[place](
        document, "../../victim/secret" if place in ("the data", "the features") else "../victim/secret"
    )
    workspace.write_doc(layout.CURRENT_MODEL, document)
    before = sorted(tmp_path.rglob("*"))
    for call in (
        lambda: load_model(tmp_path / "w").save(tmp_path / "copy"),
        lambda: load_model(tmp_path / "w").recommend([0]),
        lambda: load_model(tmp_path / "w").export_weights(tmp_path / "export"),
    ):
        with contextlib.suppress(L3AEError):  # refused, or answered from what is inside
            call()
    assert b"private" not in b"".join(
        file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != victim
    )
    assert victim.read_bytes() == b"private"
    made = set(tmp_path.rglob("*")) - set(before)
    allowed = (tmp_path / "copy", tmp_path / "export", tmp_path / "w")
    assert all(any(path.is_relative_to(one) for one in allowed) for path in made)


# ---- exports


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    fit(folder / "w")
    load_model(folder / "w").export_weights(folder / "e", 5)
    return folder / "e"


def altered(export, folder, name, change):
    """Copy an export, with the members of one of its archives changed; returns the copy."""
    folder.mkdir()
    for file in export.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with zipfile.ZipFile(export / name) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    compression = change(members)
    with zipfile.ZipFile(folder / name, "w", compression or zipfile.ZIP_STORED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    header = json.loads((folder / HEADER).read_text())  # who alters an export can write its digests too
    del header[DIGEST]
    header["files"][name] = file_digest(folder / name)
    (folder / HEADER).write_bytes(sealed(HEADER, header))
    return folder


def stored(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=True)
    return out.getvalue()


def huge(members):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (2**44,)})
    members["data.npy"] = out.getvalue()


def bomb(members):
    members["data.npy"] = stored(np.zeros(50_000_000, np.float32))
    return zipfile.ZIP_DEFLATED


def beyond(members):
    indices = np.load(io.BytesIO(members["indices.npy"]))
    indices[0] = 2**30
    members["indices.npy"] = stored(indices)


def program(members):
    members["data.npy"] = stored(np.array([{"a": 1}], object))


def fewer(members):
    members["data.npy"] = stored(np.zeros(1, np.float32))


@pytest.mark.parametrize("change", [huge, bomb, beyond, program, fewer])
def test_a_hostile_export_is_refused_before_it_is_unpacked(export, tmp_path, change):
    folder = altered(export, tmp_path / "e", "weights.npz", change)
    with pytest.raises(WorkspaceError, match=r"cannot be read") as found:
        load_export(folder)
    if change in (huge, bomb):
        assert "promises" in str(found.value)


def test_names_of_another_number_than_the_weights_are_refused(export, tmp_path):
    def cut(members):
        members["ids.npy"] = stored(np.arange(3))

    with pytest.raises(WorkspaceError, match="3 ids of 40 items"):
        load_export(altered(export, tmp_path / "e", "items.npz", cut))


def test_an_export_whose_header_is_nested_without_end_is_a_sentence(export, tmp_path):
    folder = altered(export, tmp_path / "e", "items.npz", lambda members: None)
    header = json.loads((folder / HEADER).read_text())
    (folder / "header.json").write_text("[" * 200_000)
    with pytest.raises(WorkspaceError, match=r"header\.json is damaged"):
        load_export(folder)
    del header[DIGEST]
    (folder / HEADER).write_bytes(sealed(HEADER, {**header, "n_items": 10**15}))
    with pytest.raises(WorkspaceError, match="they are not"):
        load_export(folder)


def test_an_export_is_read_as_it_was_written(export):
    model = load_export(export)
    want = sparse.load_npz(export / "weights.npz")
    assert (model.weights != want).nnz == 0


# ---- permissions


def open_to_others(folder):
    """Everything below a folder, itself included, that others than its user may read or write."""
    return [
        path
        for path in (Path(folder), *Path(folder).rglob("*"))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]


def test_a_workspace_is_its_users_alone(tmp_path):
    before = os.umask(0o022)
    try:
        fit(tmp_path / "folder" / "w")
        assert open_to_others(tmp_path / "folder" / "w") == []
        # one whose folder was made for others is shared with them
        (tmp_path / "shared").mkdir(0o755)
        fit(tmp_path / "shared")
        assert not [path for path in (tmp_path / "shared").rglob("*") if not path.stat().st_mode & 0o044]
    finally:
        os.umask(before)
