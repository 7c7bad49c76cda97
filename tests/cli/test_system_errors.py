"""What the system refuses below the package's own errors is one sentence with the exit code of storage."""

import errno

import pytest
from typer.testing import CliRunner

from l3ae_dist.cli import app
from l3ae_dist.operations import verify


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere/zarr.json"), "/somewhere/zarr.json"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit"),
    ],
)
def test_an_error_of_the_system_is_one_sentence(monkeypatch, error, said):
    def refuse(*_args, **_options):
        raise error

    monkeypatch.setattr(verify, "verify_workspace", refuse)
    done = CliRunner().invoke(app.app, ["verify", "somewhere"])
    assert done.exit_code == 4
    assert said in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("again", [False, True], ids=["once", "while it tidies up"])
def test_an_interruption_says_what_the_run_keeps(monkeypatch, again):
    def run(*_args, **_options):
        try:
            ended = KeyboardInterrupt()
            ended.add_note("what was finished is kept but for some tiles")
            raise ended
        finally:
            if again:
                raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify_workspace", run)
    done = CliRunner().invoke(app.app, ["verify", "somewhere"])
    assert done.exit_code == 130
    assert done.stderr.strip() == (
        "error: interrupted; what was finished is kept but for some tiles, and the same command continues "
        "from there."
    )
