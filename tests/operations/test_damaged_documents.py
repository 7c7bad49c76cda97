"""Damaged documents of a whole workspace: named by commands, listed by verify, mended by a run."""

import hashlib
import json
import re
import shutil

import pytest
from small_fits import fit
from typer.testing import CliRunner

from l3ae_dist import load_model
from l3ae_dist.cli.app import app
from l3ae_dist.errors import DamagedDocumentError
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.operations.usage import workspace_usage
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.named_models import models, use_model
from l3ae_dist.runtime.events import TileDone
from l3ae_dist.storage.scratch import _SUFFIX


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    where = tmp_path_factory.mktemp("whole") / "w"
    fit(where, until=None)
    return where


def arrays(where):
    """Digests of every chunk and header."""
    files = [path for path in where.rglob("*") if path.is_file()]
    kept = [path for path in files if "/meta/" not in str(path) or path.name == "zarr.json"]
    return {str(path.relative_to(where)): hashlib.md5(path.read_bytes()).hexdigest() for path in kept}


def edited(data):
    """The document with its first number changed."""
    text = re.sub(r"(?<=: )-?\d+", lambda found: str(int(found[0]) + 1), data.decode(), count=1)
    assert text != data.decode()
    return text.encode()


def changed(data):
    return json.dumps({**json.loads(data), "added": 1}).encode()


DAMAGE = [edited, changed, lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"{}"]
KINDS = ["model.json", "last_run.json", "fitted/*.json", "models/*.json", "results/*.json", "spectra/*.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_is_one_sentence_and_run_mends(whole, tmp_path, kind):
    shutil.copytree(whole, tmp_path / "w")
    for damage in DAMAGE[1:]:
        document = next((tmp_path / "w/meta").glob(kind))
        document.write_bytes(damage(document.read_bytes()))
        for words in (["status"], ["verify"], ["du"], ["gc", "--dry-run"], ["recommend", "1"]):
            told = CliRunner().invoke(app, [words[0], str(tmp_path / "w"), *words[1:]])
            assert "internal error" not in told.output + str(told.exception)
            assert told.exit_code in (0, 6), told.output
        found = verify_workspace(str(tmp_path / "w"), lambda event: None).documents
        assert [one.path for one in found] == [str(document.relative_to(tmp_path / "w"))]
        fit(tmp_path / "w", until=None)
        assert arrays(tmp_path / "w") == arrays(whole)
        assert verify_workspace(str(tmp_path / "w"), lambda event: None).documents == []


def test_all_completion_records_at_once_are_written_again_and_no_tile_is_computed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "w")
    for count, record in enumerate(sorted((tmp_path / "w/meta/stages").rglob("*.json"))):
        record.write_bytes(DAMAGE[count % len(DAMAGE[1:]) + 1](record.read_bytes()))
    events = []
    fit(tmp_path / "w", until=None, on_event=events.append)
    made = [
        e
        for e in events
        if isinstance(e, TileDone) and not e.skipped and e.stage in ("gram", "factor", "linv", "invert")
    ]
    assert made == []
    assert arrays(tmp_path / "w") == arrays(whole)
    assert verify_workspace(str(tmp_path / "w"), lambda event: None).documents == []


def test_all_headers_at_once_are_written_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "w")
    for count, header in enumerate(sorted((tmp_path / "w").rglob("zarr.json"))):
        header.write_bytes(DAMAGE[count % 5](header.read_bytes()))
    fit(tmp_path / "w", until=None)
    assert arrays(tmp_path / "w") == arrays(whole)
    assert verify_workspace(str(tmp_path / "w"), lambda event: None).documents == []


def test_records_that_were_deleted_are_written_again_although_the_result_is_there(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "w")
    shutil.rmtree(tmp_path / "w/meta/stages")
    (tmp_path / "w/meta/last_run.json").unlink()
    fit(tmp_path / "w", until=None)
    assert load_model(tmp_path / "w").recommend([1]).equals(load_model(whole).recommend([1]))
    assert (tmp_path / "w/meta/last_run.json").exists()
    assert arrays(tmp_path / "w") == arrays(whole)


def test_a_lost_document_of_the_current_model_is_named_and_written_again(whole, tmp_path):
    where = tmp_path / "w"
    shutil.copytree(whole, where)
    (where / "meta/model.json").unlink()
    for call in (workspace_status, load_model, collect_garbage):
        with pytest.raises(DamagedDocumentError, match=r"meta/model\.json of .* is missing; `l3ae-dist run`"):
            call(str(where))
    assert [one.path for one in verify_workspace(str(where), lambda event: None).documents] == [
        "meta/model.json"
    ]
    fit(where, until=None)
    assert verify_workspace(str(where), lambda event: None).documents == []
    assert workspace_status(str(where)).current["name"] == workspace_status(str(whole)).current["name"]
    (where / "meta/model.json").unlink()
    use_model(where, models(whole)[0]["name"])
    assert load_model(where).recommend([1]).equals(load_model(whole).recommend([1]))


def test_gc_keeps_a_model_that_is_open_and_says_so(tmp_path):
    fit(tmp_path / "w")
    model = load_model(tmp_path / "w")
    fit(tmp_path / "w", reg_x=50)
    kept = collect_garbage(str(tmp_path / "w"))
    assert kept.read == [model.label]
    assert kept.given_up == []
    model.recommend([1])
    del model
    assert collect_garbage(str(tmp_path / "w"), dry_run=True).read == []
    assert collect_garbage(str(tmp_path / "w")).given_up == kept.read


def test_what_killed_processes_left_is_counted_and_deleted_by_gc(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fit(tmp_path / "w")
    left = tmp_path / f"l3ae-scratch-12345678{_SUFFIX}"
    left.mkdir()
    (left / "x").write_bytes(b"1" * 10_000)
    unfinished = next((tmp_path / "w/grams").rglob("c")) / "0.0123abcd-77-123-89abcdef.partial"
    unfinished.write_bytes(b"1" * 1000)
    import os

    os.utime(unfinished, (1, 1))
    usage = workspace_usage(str(tmp_path / "w"))
    assert str(left) in usage.temporary
    assert usage.kinds["unfinished"].bytes == 1000
    found = collect_garbage(str(tmp_path / "w"))
    assert {str(left), str(unfinished.relative_to(tmp_path / "w"))} <= set(found.left_over)
    assert not left.exists()
    assert not unfinished.exists()
