"""The pictures of README and documentation show the program as it is."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import pictures  # noqa: E402


@pytest.mark.parametrize("name", pictures.SOURCES)
def test_a_picture_is_that_of_its_sources(name):
    recorded = json.loads(pictures.RECORD.read_text())
    assert recorded[name] == pictures.digests(name), "run `python docs/pictures.py`, which draws it again"


def test_pictures_of_the_readme_are_there():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r'(?:src|srcset)="(docs/_static/[^"]+)"', text)
    assert {Path(path).name for path in named} == set(pictures.SOURCES)
    assert all((ROOT / path).read_bytes()[1:4] == b"PNG" for path in named)
    assert "/tmp/" not in text


def test_what_is_published_names_no_folder_of_a_machine():
    folder = re.compile(r"(?<![\w.:/])/(?:home|Users|root|work|private)/[\w.-]+")
    published = [*ROOT.glob("benchmarks/results/*.json"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    assert [path.name for path in published if folder.search(path.read_text())] == []
