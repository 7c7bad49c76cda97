"""The stored notebooks: complete, small, and free of what belongs to one machine. `make notebooks` runs them."""

import getpass
import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebooks are read with the dev extra")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 300_000
# a path that begins at the root of a machine, or in somebody's home; not a URL, and not os.chdir("/")
ABSOLUTE = re.compile(
    r"(?<![\w.:/<])(/(home|Users|root|tmp|work|usr|opt|var|mnt|private)/[\w.-]+|[A-Z]:\\\\\w+)"
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_notebooks_that_the_page_lists_are_those_that_are_there():
    listed = re.findall(r"^\| \[([\w-]+\.ipynb)\]\(\1\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert listed == [path.name for path in NOTEBOOKS]
    assert len(listed) >= 3


def test_it_is_valid_and_small(path, notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor >= 5) == (4, True)
    assert path.stat().st_size < MOST_BYTES


def test_every_cell_was_run_in_order_and_none_failed_or_complained(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [(output.output_type, output.get("name", "stdout")) for output in outputs(notebook)]
    assert {kind for kind, _ in kinds} <= {"stream", "display_data", "execute_result"}
    assert {stream for _, stream in kinds} == {"stdout"}


def test_any_python_of_a_reader_can_run_it_and_it_tells_nothing_of_the_machine_that_did(path, notebook):
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell.metadata for cell in notebook.cells] == [{}] * len(notebook.cells)
    texts = [cell.source for cell in notebook.cells]
    texts += [json.dumps({**o, "data": {k: v for k, v in o.get("data", {}).items() if k != "image/png"}})
              for o in outputs(notebook)]  # fmt: skip
    text = "\n".join(texts)
    assert ABSOLUTE.findall(text) == []
    user = getpass.getuser()
    assert user == "root" or not re.search(rf"\b{re.escape(user)}\b", text)


def test_links_between_notebooks_lead_somewhere(notebook):
    links = [link for cell in notebook.cells for link in re.findall(r"\]\(([^)#]+)\)", cell.source)
             if cell.cell_type == "markdown"]  # fmt: skip
    assert [link for link in links if "://" not in link and not (FOLDER / link).exists()] == []


def test_paths_of_a_machine_are_found():
    """So that the test above can fail."""
    roots = ("home", "Users", "root", "tmp", "work", "usr", "opt", "var", "mnt", "private")
    for bad in (*(f"in '{os.sep}{root}{os.sep}folder'" for root in roots), "C:" + 2 * "\\" + "Users"):
        assert ABSOLUTE.search(bad), bad
    for good in ("https://arxiv.org/abs/2508.13500", 'os.chdir("/")', "http://127.0.0.1/tmp/x", "</td>"):
        assert not ABSOLUTE.search(good), good


def test_storing_leaves_out_what_changes_from_run_to_run():
    spec = importlib.util.spec_from_file_location("store", FOLDER / "store.py")
    store = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(store)
    cell = nbformat.v4.new_code_cell("plot()", metadata={"execution": {"iopub.status.busy": "2026"}})
    cell.outputs = [nbformat.v4.new_output("display_data", metadata={"needs_background": "light"},
                                           data={"image/png": "eA==", "text/plain": "<Figure at 0x7f>"})]  # fmt: skip
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.9"}}
    )
    store.strip(notebook)
    assert notebook.metadata == store.METADATA
    assert cell.metadata == {}
    assert cell.outputs[0] == {"output_type": "display_data", "metadata": {}, "data": {"image/png": "eA=="}}
