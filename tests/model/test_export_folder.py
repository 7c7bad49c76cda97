"""What an export replaces: an export that nobody changed, or an empty folder, and nothing else."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from small_fits import fit

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.model import export_folder
from l3ae_dist.model.fitted import load_model
from l3ae_dist.serving import FORMAT, HEADER, ITEMS, WEIGHTS, load_export


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    where = tmp_path_factory.mktemp("export") / "w"
    fit(where, reg_x=20, name="ease")
    return load_model(where)


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def no_computing(*_, **__):
    raise AssertionError("it computed before it refused")


def header_of_an_export(model, folder):
    return json.dumps(model.export_weights(folder, 3), indent=1)


def mention(folder, model):
    (folder / HEADER).write_text(f"we use {FORMAT} here")


def header_alone_among_others(folder, model):
    (folder / HEADER).write_text(json.dumps({"format": FORMAT}))


def whole_header_and_a_file(folder, model):
    (folder / HEADER).write_text(header_of_an_export(model, folder.parent / "another"))
    (folder / "thesis.tex").write_text("four years")


def own_names_with_other_content(folder, model):
    (folder / HEADER).write_text(header_of_an_export(model, folder.parent / "another"))
    (folder / WEIGHTS).write_bytes(b"my own weights")


def a_folder_in_an_export(folder, model):
    model.export_weights(folder, 3)
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("mine")


def a_link_among_the_files(folder, model):
    model.export_weights(folder, 3)
    mine = folder.parent / "mine.npz"
    (folder / ITEMS).rename(mine)
    (folder / ITEMS).symlink_to(mine)


def nested_header(folder, model):
    (folder / HEADER).write_text("[" * 100_000)


def no_header(folder, model):
    np.savez(folder / WEIGHTS, a=np.ones(3))


def an_edited_export(folder, model):
    model.export_weights(folder, 3)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[50] ^= 1
    (folder / WEIGHTS).write_bytes(data)


@pytest.mark.parametrize(
    "fill",
    [mention, header_alone_among_others, whole_header_and_a_file, own_names_with_other_content,
     a_folder_in_an_export, a_link_among_the_files, nested_header, no_header, an_edited_export],
)  # fmt: skip
def test_other_peoples_files_are_refused_before_any_computing(tmp_path, model, monkeypatch, fill):
    folder = tmp_path / "theirs"
    folder.mkdir()
    fill(folder, model)
    before = content(tmp_path)
    monkeypatch.setattr("l3ae_dist.model.export._in_process", no_computing)
    monkeypatch.setattr("l3ae_dist.model.export._on_cluster", no_computing)
    with pytest.raises(WorkspaceError, match="is no export") as told:
        model.export_weights(folder, 2)
    assert "\n" not in str(told.value)
    assert content(tmp_path) == before


def test_a_file_and_a_folder_of_the_workspace_are_refused(tmp_path, model):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WorkspaceError, match="it is no folder"):
        model.export_weights(tmp_path / "file", 2)
    with pytest.raises(WorkspaceError, match="is in the workspace"):
        model.export_weights(Path(model.workspace.url) / "out", 2)
    (tmp_path / "link").symlink_to(model.workspace.url)
    with pytest.raises(WorkspaceError, match="is in the workspace"):
        model.export_weights(tmp_path / "link" / "out", 2)


def test_an_export_replaces_an_export_of_this_and_of_older_versions(tmp_path, model):
    folder = tmp_path / "out"
    for k in (2, 3):
        model.export_weights(folder, k)
    assert load_export(folder).header["k"] == 3
    header = json.loads((folder / HEADER).read_text())
    del header["files"], header["digest"]
    header["format_version"] = 1
    (folder / HEADER).write_text(json.dumps(header))
    model.export_weights(folder, 4, format="both")
    assert load_export(folder).header["k"] == 4
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_is_followed_before_anything_is_replaced(tmp_path, model):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    model.export_weights(tmp_path / "link", 2)
    assert (tmp_path / "link").is_symlink()
    assert load_export(tmp_path / "real").header["k"] == 2
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.txt").write_text("mine")
    (tmp_path / "other").symlink_to(tmp_path / "theirs")
    with pytest.raises(WorkspaceError, match="is no export"):
        model.export_weights(tmp_path / "other", 2)
    assert (tmp_path / "theirs" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("when", ["computing", "the rename"])
def test_the_old_export_stays_when_the_new_one_fails(tmp_path, model, monkeypatch, when):
    folder = tmp_path / "out"
    model.export_weights(folder, 2)
    before = content(folder)
    rename = Path.rename

    def fails(self, target):
        if Path(target) == folder and ".l3ae-partial-" in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    def breaks(event):
        raise RuntimeError("stopped")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises((WorkspaceError, RuntimeError)):
        model.export_weights(folder, 3, **({"on_event": breaks} if when == "computing" else {}))
    assert content(folder) == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_that_changes_meanwhile_is_left_alone(tmp_path, model):
    folder = tmp_path / "out"
    model.export_weights(folder, 2)

    def somebody_writes(event):
        (folder / "precious.txt").write_text("mine")

    with pytest.raises(WorkspaceError, match="changed while the export was made"):
        model.export_weights(folder, 3, on_event=somebody_writes)
    assert (folder / "precious.txt").read_text() == "mine"
    assert load_export(folder).header["k"] == 2
    assert os.listdir(tmp_path) == ["out"]


def test_what_killed_exports_left_is_swept_and_a_living_ones_stays(tmp_path, model):
    folder = tmp_path / "out"
    model.export_weights(folder, 2)
    folder.rename(tmp_path / ".out.l3ae-old-1")  # killed between the two renames
    dead, living = (tmp_path / f".out.l3ae-partial-{name}" for name in ("dead", "living"))
    for path in (dead, living):
        path.mkdir()
        (path / WEIGHTS).write_bytes(b"half")
    with pytest.raises(RuntimeError):
        model.export_weights(folder, 3, on_event=_stop)
    assert load_export(folder).header["k"] == 2, "the old one is back"
    assert not dead.exists()
    living.mkdir(exist_ok=True)
    with export_folder._held(living):
        model.export_weights(folder, 3)
        assert living.exists()
    assert load_export(folder).header["k"] == 3


def _stop(event):
    raise RuntimeError("stopped")
