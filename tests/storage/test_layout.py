"""Paths of a workspace: every kind round-trips, and knows its makers, its remedy and what it was made from."""

import pytest

from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import Kind
from l3ae_dist.storage.stages import Stage

FACTORS = layout.FactorPaths.of("g", 10.0, "float32")
SEMANTIC = layout.SemanticPaths.of("e", 16, 5.0)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (layout.gram("g"), "grams/g"),
        (FACTORS.inverse, "factors/g/10.0/float32/P"),
        (FACTORS.partial([], "S1"), "factors/g/10.0/float32/partials/71857576257465c7/S1"),
        (layout.FactorPaths.of("g", 10.0, "float64", "float64").inverse, "factors/g/10.0/float64/P"),
        (
            layout.FactorPaths.of("g", 10.0, "float32", "float64").inverse,
            "factors/g/10.0/float32-by-float64/P",
        ),
        (SEMANTIC.v, "semantic/e/16/5.0/V"),
        (layout.cross("f", "e"), "crosses/f/e/Q"),
        (layout.cross_diagonal("f", "e", 5.0), "crosses/f/e/pc/5.0"),
        (layout.product_diagonal(layout.product("f", "s")), "crosses/f/s/PC-diagonal"),
        (layout.features("words-1"), "words/words-1"),
        (layout.features("1"), "embeddings/1"),
        (layout.DatasetPaths("d").by_user("train").indptr, "interactions/d/train_csr/indptr"),
        (layout.DatasetPaths("d").titles, "items/d/title"),
        (layout.AddedPaths.of("e", 3).rows, "added/e/3/rows"),
        (layout.SpectralPaths.of("s").left, "spectral/s/left"),
    ],
)
def test_a_path_is_what_older_runs_of_this_format_wrote(path, written):
    assert path == written


def test_every_kind_is_found_again_from_the_path_of_an_artifact():
    for kind in Kind:
        path = "/".join([kind, *"abc"[: kind.depth - 1], "array"])
        assert layout.kind_of(path) is kind
        assert layout.artifact_of(path) == path.rpartition("/")[0]
    assert layout.kind_of("calibration/x") is None
    assert layout.artifact_of("calibration/x") == "calibration/x"


def test_data_and_embeddings_are_the_sources_and_all_else_but_added_items_is_derived():
    sources = {kind for kind in Kind if not layout.is_derived(kind.path("x"))}
    assert sources == {
        Kind.ITEMS, Kind.USERS, Kind.INTERACTIONS, Kind.WORDS, Kind.EMBEDDINGS, Kind.DIGESTS,
        Kind.ADDED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "makers"),
    [
        (layout.gram("g"), [(Stage.GRAM, "g")]),
        (FACTORS.cholesky, [(Stage.FACTOR, FACTORS.id)]),
        (FACTORS.inverse, [(Stage.INVERT, FACTORS.id), (Stage.CERTIFIED, FACTORS.id)]),
        (FACTORS.diagonal, [(Stage.ASSEMBLE, fingerprint(FACTORS.diagonal))]),
        (SEMANTIC.a, [(Stage.SEMANTIC, SEMANTIC.id)]),
        (layout.transform("e"), [(Stage.EMBED, "e")]),
        (layout.SpectralPaths.of("s").left, [(Stage.SPECTRAL, "s")]),
        (layout.ScorePaths.of("s").top_lists, [(Stage.SCORE, "s")]),
        (layout.DatasetPaths("d").texts, [(Stage.INGEST, "d")]),
        (layout.RootPaths.of("d").users, [(Stage.ROOTS, "d")]),
        (layout.AddedPaths.of("e", 1).ids, []),
        (layout.model_vector("m", "c"), []),
        ("calibration/x", []),
    ],
)
def test_the_records_of_an_array_are_those_of_its_stage(path, makers):
    assert layout.makers(path) == makers


def test_a_column_that_two_arrays_share_a_task_for_is_made_again_with_the_other():
    assert layout.written_with(SEMANTIC.a) == SEMANTIC.v
    assert layout.written_with(SEMANTIC.v) is None
    assert layout.SemanticPaths.holding(SEMANTIC.v) == SEMANTIC


def test_the_remedy_names_what_to_run_for_each_kind_of_source():
    assert layout.remedy(FACTORS.inverse) == "`l3ae-dist run` repairs it when its inputs are kept"
    assert layout.remedy(layout.RootPaths.of("d").users).endswith("redoes the roots stage, which makes it")
    assert "redoes the ingest stage" in layout.remedy(layout.DatasetPaths("d").item_ids)
    assert "takes the added items out" in layout.remedy(layout.AddedPaths.of("e", 1).ids)


def test_a_gram_matrix_is_found_from_what_was_factorised():
    assert layout.gram_of(FACTORS.base) == layout.gram("g")
    assert layout.gram_of(layout.gram("g")) is None


def test_above_the_diagonal_stands_a_mirror_image_zeros_or_tiles():
    assert [layout.above_diagonal(path) for path in (layout.gram("g"), FACTORS.inverse)] == ["mirror"] * 2
    assert layout.above_diagonal(FACTORS.cholesky_inverse) == "zero"
    assert layout.above_diagonal(layout.product("f", "s")) == "stored"


def test_marks_notes_and_events_lead_back_to_what_they_are_about():
    key = layout.done_mark(FACTORS.inverse, 2, 1, 0xABC)
    assert key.startswith("meta/done/factors/g/10.0/float32/P/2.1.00000abc")
    assert layout.mark_name(key) == layout.MarkName(2, 1, 0xABC)
    old = layout.done_mark(FACTORS.inverse, 2, 1, 0xABC, old=True)
    assert old == "meta/done/factors/g/10.0/float32/P/2.1.00000abc"
    assert layout.mark_name(old) == layout.MarkName(2, 1, 0xABC, old=True)
    for elsewhere in (key.replace("10.0", "11.0"), key.replace("2.1.", "2.0."), f"{key}.partial", f"{old}0"):
        assert layout.mark_name(elsewhere) is None
    assert layout.array_of_mark(key) == FACTORS.inverse
    assert layout.damaged_chunk(layout.damage_note("grams/g", -1, -1)) == ("grams/g", -1, -1)
    assert layout.document_key(layout.document(layout.result("r"))) == "results/r"
    segment = layout.event_segment("run-1", 7)
    assert layout.is_event_segment(segment)
    assert not layout.is_event_segment(layout.events("run-1", "jsonl"))
    paths = (
        segment,
        layout.events("run-1", "parquet"),
        layout.run_report("run-1"),
        layout.dask_report("run-1"),
    )
    assert {layout.execution_of(path) for path in paths} == {"run-1"}
