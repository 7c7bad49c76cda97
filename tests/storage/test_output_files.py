"""Files that commands write: an earlier one of the same kind is replaced, and nobody else's."""

import os

import pytest

from l3ae_dist.errors import ConfigError
from l3ae_dist.storage.output_files import PAGE, check_output, write_output

OURS = b"<!doctype html>\n<title>Run 1 - l3ae_dist</title>"


@pytest.mark.parametrize(
    "theirs", [b"user_id,item_id\n1,2\n", b"<!doctype html><title>My page</title>", b"\0" * 9]
)
def test_other_peoples_files_are_left_as_they_are(tmp_path, theirs):
    path = tmp_path / "file"
    path.write_bytes(theirs)
    for call in (lambda: check_output(path, PAGE), lambda: write_output(path, OURS, PAGE)):
        with pytest.raises(ConfigError, match="is no page of l3ae-dist"):
            call()
    assert path.read_bytes() == theirs
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path, PAGE)


def test_an_earlier_page_an_empty_file_and_a_link_to_one_are_replaced(tmp_path):
    path, link = tmp_path / "a.html", tmp_path / "link.html"
    for before in (None, b"", OURS):
        if before is not None:
            path.write_bytes(before)
        assert write_output(path, OURS + b"2", PAGE) == str(path)
        assert path.read_bytes() == OURS + b"2"
    link.symlink_to(path)
    write_output(link, OURS + b"3", PAGE)
    assert link.is_symlink()
    assert path.read_bytes() == OURS + b"3"
    assert write_output("/dev/null", OURS, PAGE) == "/dev/null"
    assert sorted(os.listdir(tmp_path)) == ["a.html", "link.html"]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(ConfigError, match="cannot write"):
        write_output(tmp_path / "no" / "such" / "folder.html", OURS, PAGE)
    with pytest.raises(ConfigError, match="cannot write"):
        write_output("a\0b", OURS, PAGE)
    assert os.listdir(tmp_path) == []
