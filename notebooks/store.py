"""Run notebooks from top to bottom and store them with their outputs. Use it with ``make notebooks-store``.

What changes from one run to the next and is of no use to a reader (times of the cells, versions of the
kernel) is left out, so that a stored notebook changes only where its text, code or results do.
"""

import argparse
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Store the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; all when none is named")
    os.environ["HF_HUB_OFFLINE"] = "1"
    for path in parser.parse_args().paths or sorted(HERE.glob("*.ipynb")):
        store(path)


def store(path: Path) -> None:
    """Run one notebook in a kernel of its own and write it in place, unless a cell fails."""
    started = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", record_timing=False, resources=folder
    ).execute()
    strip(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    print(f"{path.name}: {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1000:.0f} kB")


def strip(notebook: nbformat.NotebookNode) -> None:
    """Leave of the metadata what every reader's kernel has, and of the outputs one form of each."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            if "image/png" in data:  # its text is the address of an object
                data.pop("text/plain", None)


if __name__ == "__main__":
    main()
