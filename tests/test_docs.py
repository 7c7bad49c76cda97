"""The pages name what is there."""

import re
from pathlib import Path

import pytest

import l3ae_dist
from l3ae_dist.linalg import closed_form

PACKAGE = Path(l3ae_dist.__file__).parent
PAGE = PACKAGE.parent / "docs" / "mathematics.md"


@pytest.fixture(scope="module")
def page():
    if not PAGE.exists():
        pytest.skip("the documentation is not part of an installed package")
    return PAGE.read_text()


def test_every_function_named_beside_an_equation_is_in_closed_form(page):
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    named = {
        name
        for row in rows
        if row[1].strip() not in ("equation", "member") and "=" in row[1]
        for name in re.findall(r"`(\w+)`", row[2])
    }
    assert {"semantic_dense", "l3ae_dense", "scores"} <= named
    assert [name for name in sorted(named) if not hasattr(closed_form, name)] == []


def test_every_place_in_the_package_exists(page):
    places = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", page)
    assert len(places) > 5
    for file, names in places:
        found = [path for path in (PACKAGE / file, PACKAGE.parent / file) if path.exists()]
        assert found, file
        for name in filter(None, names.split(".")):
            assert re.search(rf"(def|class) {name}\b", found[0].read_text()), (file, name)
