"""Imports point downwards, and no module grows without bound."""

import ast
from pathlib import Path

import pytest

import l3ae_dist

ROOT = Path(l3ae_dist.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))
LAYERS = {
    "errors": 0,
    "linalg": 0,
    "ranking": 0,
    "ranks": 0,
    "significance": 0,
    "serving": 0,
    "units": 0,
    "storage": 1,
    "data": 1,
    "graphs": 2,
    "plan": 2,
    "runtime": 3,
    "embed": 3,
    "cli": 5,
    "cli_append": 5,
    "cli_support": 5,
    "cli_recommend": 5,
    "cli_render": 5,
    "cli_report": 5,
    "cli_sweep": 5,
    "cli_housekeeping": 5,
    "cli_plan": 5,
    "cli_plan_view": 5,
    "cli_verify": 5,
    "cli_watch": 5,
    "cli_watch_view": 5,
    "cli_cluster": 5,
    "cli_doctor": 5,
    "report": 5,
}
# every other module of the package (model, pipeline, config, ...)
TOP = 4
ENGINES = {"dask", "distributed", "ray", "zarr"}


def part_of(module):
    return module.split(".")[1] if "." in module else ""


def layer_of(module):
    return LAYERS.get(part_of(module), TOP)


def module_name(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} has a relative import"
            if node.module == "l3ae_dist":
                yield from (f"l3ae_dist.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_downwards(path):
    name = module_name(path)
    if name == "l3ae_dist":  # the package's lazy public names
        return
    upward = [
        other
        for other in imports_of(path)
        if other.startswith("l3ae_dist.") and not other.endswith("__version__")
        if layer_of(other) > layer_of(name)
    ]
    assert upward == []


@pytest.mark.parametrize("path", [p for p in MODULES if layer_of(module_name(p)) == 0], ids=module_name)
def test_layer_zero_imports_neither_dask_nor_ray_nor_zarr(path):
    assert ENGINES.isdisjoint(other.split(".")[0] for other in imports_of(path))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400
