"""Bounds of dependencies: the tested versions satisfy them, and none is below what SECURITY.md promises."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
# By public records of the weaknesses; the last one where there are several.
MENDED = {
    "bokeh": "3.8.2",
    "distributed": "2026.1.0",
    "jinja2": "3.1.6",
    "pyarrow": "14.0.1",
    "ray": "2.52.0",
    "sentence-transformers": "6.0",
    "torch": "2.10.0",
}


def pins():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(pin) for name, pin in pairs}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return [(group, Requirement(text)) for group, texts in groups.items() for text in texts]


def lowest(requirement):
    return max((Version(one.version) for one in requirement.specifier if one.operator == ">="), default=None)


def reason(name):
    """What the comment beside a bound says."""
    (line,) = re.findall(rf'^ *"{name}[\[>].*$', (ROOT / "pyproject.toml").read_text(), re.M)
    return line.partition("#")[2]


def test_every_tested_version_satisfies_its_bounds_and_no_bound_is_above_it():
    known = pins()
    for group, one in requirements():
        name = canonicalize_name(one.name)
        assert name in known or group != "", f"constraints.txt lacks {name}"
        if name in known:
            assert one.specifier.contains(known[name]), f"{one} and {known[name]}"
            assert (bound := lowest(one)) is None or bound <= known[name]
        assert group != "" or lowest(one) is not None, f"{one} has no lower bound"


@pytest.mark.parametrize("name", MENDED)
def test_a_bound_is_not_below_the_version_that_mended_a_weakness_and_says_which(name):
    (bound,) = {lowest(one) for _, one in requirements() if canonicalize_name(one.name) == name}
    assert Version(MENDED[name]) <= bound <= Version(version(name))
    assert MENDED[name] in reason(name)
