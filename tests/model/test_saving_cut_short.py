"""A copy of a model that was cut short: it holds no model, and the same call completes it."""

import hashlib

import pytest
from small_fits import fit

from l3ae_dist import load_model
from l3ae_dist.errors import StageMissingError, WorkspaceError
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage.workspace import Workspace


class Killed(BaseException):
    pass


def contents(root):
    """Digests of everything but the lock, which tells when it was held, and documents that tell the epoch."""
    files = (path for path in root.rglob("*") if path.is_file() and "lock" not in path.name)
    return {
        path.relative_to(root).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in files
        if path.parts[len(root.parts)] != "meta"
    }


def cut_short(monkeypatch, model, target, after):
    """Save, and be killed at a write."""
    put, count = type(model.workspace.blobs).put, [0]

    def counted(self, key, parts):
        if str(self.root) == str(target) and "lock" not in key:
            count[0] += 1
            if count[0] > after:
                raise Killed
        put(self, key, parts)

    with monkeypatch.context() as patch:
        patch.setattr(type(model.workspace.blobs), "put", counted)
        try:
            model.save(target)
        except Killed:
            return True
    return False


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    where = tmp_path_factory.mktemp("saved") / "w"
    fit(where)
    return where


def test_a_save_that_was_killed_anywhere_is_completed_by_the_same_call(fitted, tmp_path, monkeypatch):
    model = load_model(fitted)
    model.save(tmp_path / "whole")
    wanted, expected = contents(tmp_path / "whole"), model.recommend([0, 1, 2])
    for after in (0, 1, 2, 5, 20, 40, 60, 80):
        target = tmp_path / f"cut-{after}"
        assert cut_short(monkeypatch, model, target, after) or after > 60
        if 0 < after < 60:
            with pytest.raises(StageMissingError, match="cut short; save the model there again"):
                load_model(target)
        model.save(target)
        assert contents(target) == wanted
        assert load_model(target).recommend([0, 1, 2]).equals(expected)
        found = verify_workspace(str(target), lambda event: None)
        assert not found.damage
        assert not found.documents


def test_what_is_no_beginning_of_the_same_copy_is_refused(fitted, tmp_path, monkeypatch):
    model = load_model(fitted)
    fit(tmp_path / "other", reg_x=11)
    other = load_model(tmp_path / "other")
    assert cut_short(monkeypatch, other, tmp_path / "cut", 20)
    with pytest.raises(WorkspaceError, match="beginning of a copy of another model"):
        model.save(tmp_path / "cut")
    other.save(tmp_path / "cut")
    with pytest.raises(WorkspaceError, match="is not empty; save the model to a new location"):
        other.save(tmp_path / "cut")


def test_a_copy_keeps_the_format_of_its_source(fitted, tmp_path):
    load_model(fitted).save(tmp_path / "copy")
    assert Workspace.open(tmp_path / "copy").format == Workspace.open(fitted).format
