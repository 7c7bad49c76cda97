"""Build the wheel ``l3ae-serve``: of the package those modules alone that answer from an export."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
# Modules that others import when they are called, beside those that the command imports at once.
ENTRIES = ("l3ae_dist.serve.alone", "l3ae_dist.serve.current", "l3ae_dist.serve.app")


def source(module: str) -> Path:
    """Return the file of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports when it is imported itself."""
    parts = module.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts)))
    for node in ast.parse(source(module).read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("l3ae_dist"):
            names = (f"{node.module}.{one.name}" for one in node.names)
            inner = [name for name in names if source(name).is_file()]
            yield from inner or [str(node.module)]


def modules() -> set[str]:
    """Return the modules that the command needs, from the source."""
    found, waiting = set(), list(ENTRIES)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imported(module)
    return found


WANTED = modules()


class OnlyWanted(build_py):
    """Leave out the modules that the command does not need."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return the modules of a package that are wanted."""
        found = super().find_package_modules(package, package_dir)
        return [
            one for one in found if (package if one[1] == "__init__" else f"{package}.{one[1]}") in WANTED
        ]


version = re.search(r'__version__ = "(.+)"', source("l3ae_dist").read_text("utf-8"))
assert version is not None
setup(
    version=version[1],
    packages=sorted(one for one in WANTED if source(one).name == "__init__.py"),
    package_dir={"l3ae_dist": "../../l3ae_dist"},
    cmdclass={"build_py": OnlyWanted},
)
