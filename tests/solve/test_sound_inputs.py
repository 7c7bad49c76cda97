"""A run that fails changes nothing that is finished, and blames the numbers only when their inputs are sound."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_fits import fit

from l3ae_dist.errors import DamagedTileError, NumericalError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.solve import family as families
from l3ae_dist.solve.certificate import Certificate, require
from l3ae_dist.solve.sound_inputs import inputs_first
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    where = tmp_path_factory.mktemp("complete") / "w"
    fit(where)
    return where


@pytest.fixture
def copy(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "w")


def vectors(where):
    found = (path for path in where.glob("models/*/*/c/*/0") if path.is_file())
    return {path.relative_to(where): path.read_bytes() for path in found}


def exchange(folder):
    first, second = (folder / "c" / name / "0" for name in "01")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def test_swapped_inputs_of_the_vectors_are_repaired_and_the_model_keeps_its_answers(copy, complete):
    answers = load_model(str(complete)).recommend(list(range(60)), n=5)
    (diagonal,) = copy.glob("factors/*/*/*/diagonal")
    exchange(diagonal)
    before = vectors(copy)
    (copy / "meta/results").rename(copy / "results-elsewhere")  # as if the run had not ended
    fit(copy)
    assert vectors(copy) == before == vectors(complete)
    assert load_model(str(copy)).recommend(list(range(60)), n=5).equals(answers)
    for path in diagonal.glob("c/*/0"):
        assert path.read_bytes() == (complete / path.relative_to(copy)).read_bytes()


def test_damage_that_a_run_meets_is_repaired_within_it(copy, complete):
    """A flipped bit that no trailer shows, in what the run reads in this process and from its workers."""
    for pattern in ("factors/*/*/*/diagonal/c/1/0", "embeddings/*/c/0/0", "crosses/*/*/Q/c/1/0"):
        (file,) = copy.glob(pattern)
        data = bytearray(file.read_bytes())
        data[9] ^= 4
        file.write_bytes(data)
    shutil.rmtree(copy / "meta/results")
    shutil.rmtree(copy / "models")
    shutil.rmtree(copy / "semantic")
    fit(copy)
    assert vectors(copy) == vectors(complete)
    for pattern in ("factors/*/*/*/diagonal/c/1/0", "embeddings/*/c/0/0"):
        (file,) = copy.glob(pattern)
        assert file.read_bytes() == (complete / file.relative_to(copy)).read_bytes()


@pytest.mark.parametrize("there", [True, False])
def test_vectors_that_fail_their_check_are_not_written(copy, monkeypatch, there):
    """Numbers that are wrong though every input is sound: the old model still reads its own vectors."""
    before = vectors(copy)
    answers = load_model(str(copy)).recommend([1, 2], n=5)
    if not there:
        shutil.rmtree(copy / "models")
        shutil.rmtree(copy / layout.done_marks("models"))
        before = {}
    shutil.rmtree(copy / "meta/results")
    right = families.head

    def wrong(*args):
        made = right(*args)
        return replace(made, gamma=1.5 * made.gamma)

    monkeypatch.setattr(families, "head", wrong)
    with pytest.raises(
        NumericalError, match=r"over the tolerance .*, though its inputs, read again, are sound; use"
    ):
        fit(copy)
    assert vectors(copy) == before
    if there:
        assert load_model(str(copy)).recommend([1, 2], n=5).equals(answers)
    monkeypatch.undo()
    fit(copy)
    assert load_model(str(copy)).recommend([1, 2], n=5).equals(answers)


def test_other_vectors_of_a_sound_model_replace_it_only_after_their_check(copy, complete):
    """A finished c of other bytes, as of another number of threads, is taken out once the new one has passed."""
    workspace = Workspace.open(copy)
    path = json.loads((copy / "meta/model.json").read_bytes())["arrays"]["c"]
    array = ChunkArray.open(workspace, path)
    array.write(0, 0, np.array(array.read(0, 0)) * (1 + 1e-15), anew=True)
    assert vectors(copy) != vectors(complete)
    shutil.rmtree(copy / "meta/results")
    fit(copy)
    assert vectors(copy) == vectors(complete)


def blamed(where, *folders):
    """What becomes of a certificate that does not hold, with its inputs in some folders."""
    workspace = Workspace.open(where)
    with inputs_first(workspace, folders), inputs_first(workspace, folders):
        require(Certificate(1.0, 1e-9, 1e3, "float32", 10.0))


def test_a_numerical_error_over_a_damaged_input_names_the_damage(copy):
    with pytest.raises(NumericalError, match=r"its inputs, read again, are sound; use dtype float64"):
        blamed(copy, "factors", "grams")
    (file,) = copy.glob("grams/*/c/1/0")
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedTileError, match=r"chunk \(1, 0\) of grams/") as caught:
        blamed(copy, "factors", "grams")
    assert (caught.value.i, caught.value.j) == (1, 0)
    with pytest.raises(NumericalError, match="are sound"):
        blamed(copy, "factors")
    shutil.rmtree(copy / "grams")
    shutil.rmtree(copy / layout.done_marks("grams"))
    with pytest.raises(DamagedTileError, match=r"grams/.* is missing"):
        blamed(copy, "factors", "grams")
