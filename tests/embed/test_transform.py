"""Transformed embeddings through fits, against the formulas written once more; what is stored of them."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist import L3AE, EASEText
from l3ae_dist.cli import app as cli
from l3ae_dist.config.embedding import EncoderConfig, TransformConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.embed import transform
from l3ae_dist.embed.encoders import Encoder, load_encoder
from l3ae_dist.errors import ConfigError, DataError, StageMissingError, WorkspaceError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.whitening import unit_rows, whitening_matrix
from l3ae_dist.linalg.whitening import whitened as whitened_rows
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.check import check
from l3ae_dist.pipeline.run import run
from l3ae_dist.report.cautions import cautions
from l3ae_dist.report.run import find_run, read_run
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

N, D = 40, 8
COMPUTE = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16}


def interactions(n=N):
    rng = np.random.default_rng(3)
    return pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": np.arange(500) % n})


def catalog(texts):
    return pd.DataFrame({"item_id": range(len(texts)), "text": texts})


def texts(n=N):
    return [f"text {i}" for i in range(n)]


def vectors(n=N, d=D, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n, rank or d)) @ rng.standard_normal((rank or d, d))
    return (f * np.linspace(1, 4, d)).astype(np.float32)


def unit(f):
    length = np.linalg.norm(f, axis=0)
    return np.where(length > 0, f / np.where(length > 0, length, 1), 0)


def matrix_of(f, w, wanted):
    """T of the definition, by a singular value decomposition; ``f`` has unit columns."""
    u, root, _ = np.linalg.svd(f[:, wanted])
    s = np.zeros(len(f))
    s[: len(root)] = root**2
    return u @ np.diag([(one / s[0]) ** (-w / 2) if one > 1e-6 * s[0] else 0.0 for one in s]) @ u.T


def whitened(rows, w, wanted):
    """F after whitening, d x n."""
    f = unit(rows.T.astype(np.float64))
    image = matrix_of(f, w, wanted) @ f
    image[:, np.linalg.norm(image, axis=0) <= 1e-6 * np.linalg.norm(f, axis=0)] = 0
    return unit(image)


def fit(where, f, transform, words=None, model=EASEText, **params):
    made = model(**({"reg_f": 2.0} | params), transform=transform, compute=COMPUTE)
    items = catalog(texts(len(f)) if words is None else words)
    return made.fit(interactions(len(f)), items, workspace=str(where), embeddings=f)


def features(model):
    array = model.model_.array("F")
    return np.concatenate([array.read(i, 0) for i in range(array.grid[0])])


def stored_map(workspace, identifier):
    return ChunkArray.open(workspace, layout.transform(identifier)).read(0, 0)


def firsts(words):
    return [i for i, word in enumerate(words) if word.strip() and word not in words[:i]]


CASES = {
    "full rank": (vectors(), texts()),
    "duplicates and empty texts": (vectors(), [["", "  ", "a", "b", f"text {i}"][i % 5] for i in range(N)]),
    "rank below d": (vectors(rank=3), texts()),
    "fewer items than dimensions": (vectors(5, 9), texts(5)),
    "all texts the same": (np.repeat(vectors(1), 6, axis=0), ["one"] * 6),
    "one item": (vectors(1), ["alone"]),
    "dead dimensions": (vectors() * [1, 1, 0, 1, 0, 1, 1, 1], texts()),
}


@pytest.mark.parametrize("w", [0.5, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_whitened_embeddings_are_those_of_the_formula(tmp_path, case, w):
    f, words = CASES[case]
    model = fit(tmp_path / "w", np.asarray(f, np.float32), {"whiten": w}, words)
    want = whitened(np.asarray(f, np.float32), w, firsts(words))
    got = features(model)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want.T, atol=1e-10)
    unit_columns = unit(np.asarray(f, np.float32).T.astype(np.float64))
    matrix = stored_map(model.model_.workspace, model.model_.document.embedding)
    want = matrix_of(unit_columns, w, firsts(words))
    np.testing.assert_allclose(matrix, want, atol=1e-10 * np.abs(want).max())
    weights = model.model_.weights(range(len(f)))
    want = cf.semantic_dense(whitened(np.asarray(f, np.float32), w, firsts(words)), 2.0)
    assert np.abs(weights - want).max() <= 1e-10 * max(np.abs(want).max(), 1)


def test_without_texts_the_embeddings_tell_what_is_distinct(tmp_path):
    f = vectors()
    f[7], f[9], f[11] = f[3], 0, 0
    made = EASEText(2.0, transform={"whiten": 1.0}, compute=COMPUTE)
    made.fit(interactions(), pd.DataFrame({"item_id": range(N)}), workspace=str(tmp_path), embeddings=f)
    wanted = [i for i in range(N) if i not in (7, 9, 11)]
    np.testing.assert_allclose(features(made), whitened(f, 1.0, wanted).T, atol=1e-10)
    assert not features(made)[[9, 11]].any()


def test_no_whitening_leaves_the_embeddings_as_they_are(tmp_path):
    f = vectors()
    plain, off = (fit(tmp_path, f, transform) for transform in (None, {"whiten": 0, "dim": 7}))
    assert plain.model_.document.embedding == off.model_.document.embedding
    np.testing.assert_array_equal(features(off), f)


STEPS = {
    "normalised": ({"normalize": True}, lambda f: unit(f)),
    "truncated": ({"truncate_dim": 5}, lambda f: unit(f[:5])),
    "truncated and whitened": (
        {"truncate_dim": 5, "whiten": 0.5},
        lambda f: whitened(f[:5].T, 0.5, range(N)),
    ),
    "standardised and normalised": (
        {"standardize": True, "normalize": True},
        lambda f: unit((f - f.mean(1, keepdims=True)) / f.std(1, keepdims=True)),
    ),
    "standardised and whitened": (
        {"standardize": True, "whiten": 1.0},
        lambda f: whitened(((f - f.mean(1, keepdims=True)) / f.std(1, keepdims=True)).T, 1.0, range(N)),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_taken_in_their_order_and_new_items_take_the_same(tmp_path, name):
    transform, formula = STEPS[name]
    f = vectors()
    model = fit(tmp_path / "w", f, transform)
    np.testing.assert_allclose(features(model), formula(f.T.astype(np.float64)).T, atol=1e-10)
    model.model_.add_items([100, 101], embeddings=f[[4, 9]])
    np.testing.assert_allclose(model.model_.added().features, features(model)[[4, 9]], atol=1e-10)


@pytest.mark.parametrize("compress", ["pca", "svd"])
def test_compressed_and_whitened_embeddings(tmp_path, compress):
    """Signs of components do not matter to scalar products."""
    f = vectors()
    model = fit(tmp_path / "w", f, {"compress": compress, "dim": 4, "whiten": 1.0})
    rows = f.astype(np.float64) - (f.astype(np.float64).mean(0) if compress == "pca" else 0)
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    want = whitened(u[:, :4] * s[:4], 1.0, range(N))
    np.testing.assert_allclose(features(model) @ features(model).T, want.T @ want, atol=1e-10)


@pytest.mark.parametrize("route", ["woodbury", "direct"])
def test_an_item_without_text_keeps_its_collaborative_column(tmp_path, route):
    """Its embedding lies in dimensions that no text with a vote has: C has neither a row nor a column of it."""
    f = vectors()
    f[:, 6:], f[5] = 0, 0
    f[5, 6] = 1  # an empty text, in a direction of its own
    words = texts()
    words[5] = ""
    transform, settings = {"whiten": 0.5}, COMPUTE | {"semantic_route": route}
    text = EASEText(2.0, transform=transform, compute=settings)
    text.fit(interactions(), catalog(words), workspace=str(tmp_path / "a"), embeddings=f)
    c = text.model_.weights(range(N))
    assert np.abs(c[5]).max() <= 1e-14
    assert np.abs(c[:, 5]).max() <= 1e-14
    both = L3AE(5.0, 2.0, 20.0, transform=transform, compute=settings)
    events = []
    both.fit(
        interactions(), catalog(words), workspace=str(tmp_path / "b"), embeddings=f, on_event=events.append
    )
    x = both.model_.dataset.user_rows("train", 0, both.model_.dataset.n_users).toarray()
    p = cf.gram_inverse(x, 25.0)
    want = -p[:, 5] / p[5, 5]
    want[5] = 0
    np.testing.assert_allclose(both.model_.weights(range(N))[:, 5], want, atol=1e-12)
    assert any("without text: 1" in event.get("message", "") for event in events)


def test_a_near_twin_is_near_after_whitening(tmp_path):
    """With rank below d a floor instead of the cut would blow up what the twin has beside the texts."""
    f = vectors(rank=4)
    model = fit(tmp_path / "w", f, {"whiten": 1.0})
    twin = f[3] + 1e-4 * np.linalg.norm(f[3]) * np.random.default_rng(5).standard_normal(D)
    model.model_.add_items([99], embeddings=twin[None])
    cosine = model.model_.added().features[0] @ features(model)[3]
    assert cosine == pytest.approx(1, abs=1e-5)


def test_the_dead_dimensions_of_minilm_are_cut():
    """Three of its dimensions have next to nothing in them, whatever the text."""
    said = [
        f"a {colour} {thing}" for colour in ("red", "blue", "old") for thing in ("lamp", "story", "table")
    ]
    rows = unit_rows(load_encoder(EncoderConfig().resolved(), "cpu").encode(said))
    assert np.abs(rows[:, [127, 223, 319]]).max() < 1e-6
    matrix = whitening_matrix(rows.T @ rows, 1.0)
    found = whitened_rows(rows, matrix)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ({"whiten": 1.5}, "transform.whiten is 1.5 but must be less than or equal to 1"),
        ({"whiten": -0.1}, "transform.whiten is -0.1 but must be greater than or equal to 0"),
        ({"whiten": float("nan")}, "transform.whiten is nan but must be a finite number"),
        ({"truncate_dim": 0}, "transform.truncate_dim is 0 but must be greater than or equal to 1"),
        ({"truncate_dim": 9}, "truncate_dim is 9, but the embeddings have 8 dimensions; choose fewer"),
        ({"compress": "pca", "dim": 4, "truncate_dim": 4}, "only the first 4 dimensions are kept"),
        ({"compress": "pca", "dim": 8}, "40 embeddings of 8 dimensions compress to at most 7"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, transform, said):
    with pytest.raises(ConfigError, match=said):
        fit(tmp_path, vectors(), transform)


@pytest.mark.parametrize("shape", [(1, 40), (8, 1)])
def test_what_is_too_narrow_to_be_compressed_is_told_to_be_left_alone(shape):
    with pytest.raises(ConfigError, match="leave nothing to compress; leave it out"):
        TransformConfig(compress="svd", dim=1).columns(*shape)


def test_texts_that_are_all_empty_cannot_be_whitened(tmp_path):
    with pytest.raises(ConfigError, match="no item has a text with an embedding other than zero"):
        fit(tmp_path, vectors(6), {"whiten": 0.5}, [""] * 6)


def test_words_are_not_transformed(tmp_path):
    values = {"workspace": str(tmp_path), "model": {"name": "collective_ease"}, "transform": {"whiten": 0.5}}
    with pytest.raises(
        ConfigError, match="transform is of embeddings, and the model collective_ease uses words"
    ):
        make_config(values)


# ---- the transformation belongs to the model


def test_a_saved_model_transforms_new_items(tmp_path):
    model = fit(tmp_path / "w", vectors(), {"whiten": 0.5, "truncate_dim": 6})
    model.model_.save(str(tmp_path / "s"))
    saved, more = load_model(str(tmp_path / "s")), vectors(3, seed=1)
    for one in (saved, model.model_):
        one.add_items([97, 98, 99], embeddings=more)
    np.testing.assert_array_equal(saved.added().features, model.model_.added().features)
    np.testing.assert_array_equal(saved.weights([97]), model.model_.weights([97]))
    assert verify_workspace(str(tmp_path / "s"), lambda event: None).damage == []


@pytest.mark.parametrize("other", [{"whiten": 0.7}, {}])
def test_a_saved_copy_takes_a_fit_with_the_same_embeddings_and_another_transformation(tmp_path, other):
    model = fit(tmp_path / "w", vectors(), {"compress": "pca", "dim": 3})
    model.model_.save(str(tmp_path / "s"))
    again, apart = fit(tmp_path / "s", vectors(), other), fit(tmp_path / "v", vectors(), other)
    np.testing.assert_array_equal(features(again), features(apart))
    assert verify_workspace(str(tmp_path / "s"), lambda event: None).damage == []


def test_a_saved_copy_says_what_an_append_of_items_lacks(tmp_path):
    model = fit(tmp_path / "w", vectors(), {"compress": "pca", "dim": 3})
    model.model_.save(str(tmp_path / "s"))
    new = pd.DataFrame({"user_id": [1], "item_id": [N]})
    with pytest.raises(DataError, match="append in the workspace that it was saved from"):
        l3ae_dist.append(
            str(tmp_path / "s"), new, catalog(texts(N + 1)), embeddings=vectors(1), compute=COMPUTE
        )


APPENDED = {"whitened": {"whiten": 1.0}, "compressed": {"compress": "pca", "dim": 3}}


@pytest.mark.parametrize("name", APPENDED)
def test_an_append_keeps_the_transformation(tmp_path, name):
    f, transform = vectors(N + 4), APPENDED[name]
    old = interactions()
    where = str(tmp_path / "w")
    model = L3AE(5.0, 2.0, 20.0, transform=transform, compute=COMPUTE)
    model.fit(old, catalog(texts()), workspace=where, embeddings=f[:N])
    before, first = features(model), model.model_.document.embedding
    new = pd.DataFrame({"user_id": [1, 2, 3, 4], "item_id": [40, 41, 42, 43]})
    l3ae_dist.append(where, new, catalog(texts(N + 4)), embeddings=f[N:], compute=COMPUTE)
    appended = load_model(where)
    workspace, second = appended.workspace, appended.document.embedding
    assert second != first
    assert [one for one in workspace.blobs.list("transforms") if one.endswith("/c/0/0")] == [
        f"{layout.transform(first)}/c/0/0"  # stored once, with what it was fitted for
    ]
    array = appended.array("F")
    after = np.concatenate([array.read(i, 0) for i in range(array.grid[0])])
    np.testing.assert_allclose(after[:N], before, atol=1e-12)
    model.model_.add_items([40, 41, 42, 43], embeddings=f[N:])
    np.testing.assert_allclose(after[N:], model.model_.added().features, atol=1e-12)
    # the rest is a fit of all interactions on these features
    x = appended.dataset.user_rows("train", 0, appended.dataset.n_users).toarray()
    want = cf.l3ae_dense(x, cf.semantic_dense(after.T, 2.0), 5.0, 20.0)
    assert np.abs(appended.weights(range(N + 4)) - want).max() <= 1e-12
    # again, without new items: the same embeddings; and they outlive what they came from
    l3ae_dist.append(where, new.assign(user_id=9), compute=COMPUTE)
    assert load_model(where).document.embedding == second
    collect_garbage(where)
    assert load_model(where).add_items([99], embeddings=f[:1]).tolist() == [99]
    assert verify_workspace(where, lambda event: None).damage == []
    # a run fits it again, on all texts
    again = L3AE(5.0, 2.0, 20.0, transform=transform, compute=COMPUTE)
    again.fit(pd.concat([old, new]), catalog(texts(N + 4)), workspace=where, embeddings=f)
    assert again.model_.document.embedding not in (first, second)
    found = stored_map(workspace, again.model_.document.embedding)
    assert not np.array_equal(found, stored_map(workspace, first))


class Stop(Exception):
    pass


@pytest.mark.parametrize("stage", ["gram", "invert"])
def test_a_run_that_is_cut_short_after_the_transformation_gives_the_same_bits(tmp_path, stage):
    values = {
        "workspace": "", "model": {"reg_x": 5, "reg_f": 2, "reg_e": 20}, "transform": {"whiten": 0.5},
        "compute": COMPUTE, "data": {"options": {"split": "none"}},
    }  # fmt: skip

    def attempt(where, on_event=None):
        config = make_config(values | {"workspace": str(where)})
        return run(config, interactions=interactions(), items=catalog(texts()), embeddings=vectors(),
                   until="fit", on_event=on_event)  # fmt: skip

    def stop(event):
        if event["kind"] == "tile" and event["stage"] == stage:
            raise Stop

    attempt(tmp_path / "whole")
    with pytest.raises(Stop):
        attempt(tmp_path / "cut", stop)
    attempt(tmp_path / "cut")
    whole, cut = (load_model(str(tmp_path / name)) for name in ("whole", "cut"))
    np.testing.assert_array_equal(cut.weights(range(N)), whole.weights(range(N)))
    np.testing.assert_array_equal(
        *(stored_map(one.workspace, one.document.embedding) for one in (cut, whole))
    )


def appended(where):
    """A whitened model to which an item was appended; its first embeddings, and those of the new item."""
    f = vectors(N + 1)
    first = fit(where, f[:N], {"whiten": 1.0}, reg_x=5.0, reg_e=20.0, model=L3AE).model_.document.embedding
    new = pd.DataFrame({"user_id": [1], "item_id": [N]})
    l3ae_dist.append(where, new, catalog(texts(N + 1)), embeddings=f[N:], compute=COMPUTE)
    return first, f[N:]


def test_a_lost_transformation_is_named_and_fitted_again_by_the_next_append(tmp_path):
    where = str(tmp_path / "w")
    first, rows = appended(where)
    workspace, before = Workspace.open(where), load_model(where)
    before.add_items([99], embeddings=rows)
    want, matrix = before.added().features, stored_map(workspace, first)
    workspace.delete(layout.transform(first))
    assert verify_workspace(where, lambda event: None).damage
    with pytest.raises(StageMissingError):
        load_model(where).add_items([98], embeddings=rows)
    l3ae_dist.append(where, pd.DataFrame({"user_id": [9], "item_id": [N]}), compute=COMPUTE)
    np.testing.assert_array_equal(stored_map(workspace, first), matrix)
    model = load_model(where)
    model.add_items([98], embeddings=rows)
    np.testing.assert_array_equal(model.added().features[-1:], want)


def test_a_saved_copy_of_an_appended_model_has_the_transformation(tmp_path):
    where = str(tmp_path / "w")
    _, rows = appended(where)
    model = load_model(where)
    model.save(str(tmp_path / "s"))
    saved = load_model(str(tmp_path / "s"))
    for one in (saved, model):
        one.add_items([99], embeddings=rows)
    np.testing.assert_array_equal(saved.added().features, model.added().features)
    assert verify_workspace(str(tmp_path / "s"), lambda event: None).damage == []


# ---- what float32 does not hold


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e25, 1e37])
@pytest.mark.parametrize("steps", [{"normalize": True}, {"whiten": 0.5}, {"truncate_dim": 5}])
def test_lengths_of_embeddings_do_not_matter_to_unit_vectors(tmp_path, steps, scale):
    f = vectors()
    plain, scaled = (
        fit(tmp_path / name, one, steps) for name, one in (("a", f), ("b", f * np.float32(scale)))
    )
    np.testing.assert_allclose(features(scaled), features(plain), atol=1e-5)
    assert np.abs(np.linalg.norm(features(scaled), axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("scale", [1e-37, 1e-16, 1e16, 1e37])
def test_embeddings_whose_products_float32_loses_are_refused(tmp_path, scale):
    """Their scalar products would be 0 or infinite, and all scores alike."""
    f = vectors()
    with pytest.raises(
        ConfigError, match=r"as its largest value, and float32 loses .* set transform.normalize"
    ):
        fit(tmp_path / "a", f * np.float32(scale), None)
    model = fit(tmp_path / "b", f, None)
    with pytest.raises(ConfigError, match="float32 loses"):
        model.model_.add_items([99], embeddings=f[:1] * scale)


@pytest.mark.parametrize("scale", [1e-16, 1e16])
def test_new_items_whose_products_float32_loses_after_a_transformation_are_refused(tmp_path, scale):
    f = vectors()
    model = fit(tmp_path, f, {"compress": "svd", "dim": 3}).model_
    with pytest.raises(ConfigError, match="float32 loses"):
        model.add_items([99], embeddings=f[:1] * scale)
    assert model.add_items([98], embeddings=f[:1]).tolist() == [98]


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e-41, r"too small for float32, with no value above 1.2e-38"), (1e39, "infinite values")],
)
def test_rows_that_float32_does_not_hold_are_refused(tmp_path, value, said):
    f = vectors().astype(np.float64)
    f[7] = value
    table = pd.DataFrame({"item_id": range(N), "vector": list(f)})
    for source in (f, table):
        with pytest.raises(DataError, match=said):
            fit(tmp_path / "a", source, {"normalize": True})
    model = fit(tmp_path / "b", vectors(), {"normalize": True})
    with pytest.raises(DataError, match=said):
        model.model_.add_items([99], embeddings=f[7:8])


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_an_encoder_with_small_or_large_vectors_gives_unit_vectors(scale):
    class Model:
        max_seq_length = 8

        def encode(self, said, **options):
            return torch.ones(len(said), 4) * scale

        def get_sentence_embedding_dimension(self):
            return 4

    rows = Encoder(Model(), EncoderConfig()).encode(["one", "two"])
    np.testing.assert_allclose(rows, np.full((2, 4), 0.5), rtol=1e-6)


# ---- few texts, and the disk


@pytest.mark.parametrize(("words", "told"), [(8, True), (9, False)])
def test_too_few_texts_for_whitening_are_told(tmp_path, words, told):
    events, said = [], [f"text {i % words}" for i in range(N)]
    made = EASEText(2.0, transform={"whiten": 0.5}, compute=COMPUTE)
    made.fit(
        interactions(), catalog(said), workspace=str(tmp_path), embeddings=vectors(), on_event=events.append
    )
    messages = [event.get("message", "") for event in events]
    found = [one for one in messages if "only 8 distinct texts, of 8 dimensions" in one]
    assert len(found) == told
    workspace = Workspace.open(str(tmp_path))
    record = read_run(workspace, find_run(workspace))
    assert any("Only 8 distinct texts, of 8 dimensions" in one for one in cautions(record)) == told


def test_a_copy_that_the_disk_has_no_room_for_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(transform, "free_bytes", lambda workspace: 8 * N * D - 1)
    with pytest.raises(WorkspaceError, match=r"a transformed copy of the embeddings takes .* GiB are free"):
        fit(tmp_path, vectors(), {"whiten": 0.5})
    monkeypatch.setattr(transform, "free_bytes", lambda workspace: 8 * N * D)
    fit(tmp_path, vectors(), {"whiten": 0.5})


@pytest.mark.parametrize("left", [1, 7, N])
def test_a_copy_that_a_killed_run_began_needs_room_for_the_rest_alone(tmp_path, monkeypatch, left):
    """Its chunks hold one row each here, and the last ones are missing."""
    dataset = SimpleNamespace(workspace=Workspace.create(str(tmp_path / "w")))
    source = ChunkArray.create(
        dataset.workspace, layout.embeddings("f"), shape=(N, D), chunks=(1, D), dtype="f4"
    )
    for i in range(N):
        source.write(i, 0, vectors()[i : i + 1])
    one = {"unit": TransformConfig(normalize=True)}
    dataset.workspace.mark_stage(Stage.EMBED, "f", {}, {})
    (name,) = transform.transform_all("f", one, dataset).values()
    copy = ChunkArray.open(dataset.workspace, layout.embeddings(name))
    whole = [copy.read(i, 0).copy() for i in range(N)]
    dataset.workspace.reopen_stage(Stage.EMBED, name)
    for i in range(N - left, N):
        copy.discard(i, 0)
    monkeypatch.setattr(transform, "free_bytes", lambda workspace: 8 * left * D - 1)
    with pytest.raises(WorkspaceError, match=r"a transformed copy of the embeddings takes"):
        transform.transform_all("f", one, dataset)
    monkeypatch.setattr(transform, "free_bytes", lambda workspace: 8 * left * D)
    transform.transform_all("f", one, dataset)
    np.testing.assert_array_equal([copy.read(i, 0) for i in range(N)], whole)


def test_settings_without_effect_are_no_other_transformation():
    plain = TransformConfig(whiten=0.5)
    assert plain.record() == TransformConfig(whiten=0.5, normalize=True, dim=7).record()
    assert not TransformConfig(dim=7).active
    assert TransformConfig(normalize=True).active


# ---- before a run


def planned(tmp_path, transform, *more):
    given = ["--items", "1e6", "--users", "1e6", "--interactions", "1e8", "--json"]
    settings = [f"--set=transform={json.dumps(transform)}", "--set=compute.memory_budget=8GiB", *more]
    return CliRunner().invoke(cli.app, ["plan", *given, *settings])


def test_a_plan_has_the_time_and_the_memory_of_the_transformation(tmp_path):
    plain = json.loads(planned(tmp_path, {}).output)
    found = json.loads(planned(tmp_path, {"whiten": 0.5}).output)
    assert "transform" not in [stage["name"] for stage in plain["stages"]]
    (stage,) = (stage for stage in found["stages"] if stage["name"] == "transform")
    assert [one["name"] for one in found["stages"]][:3] == ["ingest", "embed", "transform"]
    assert stage["engine"] == "client"
    assert stage["seconds"] > 0
    assert 5 * 8 * 384**2 < stage["peak_bytes"] < 100 * 2**20  # d x d matrices and a block of rows: no n x d
    assert found["storage_bytes"] - plain["storage_bytes"] == 8 * 384 * 10**6
    shorter = json.loads(planned(tmp_path, {"whiten": 0.5, "truncate_dim": 64}).output)
    assert shorter["data"]["dim"] == 64


def test_a_plan_of_a_sweep_has_room_for_every_copy(tmp_path):
    one = json.loads(planned(tmp_path, {"whiten": 0.5}).output)
    axes = json.dumps({"ridge": [10], "whiten": [0, 0.5, 1], "truncate_dim": [None, 100]})
    found = json.loads(planned(tmp_path, {"whiten": 0.5}, f"--set=sweep={axes}").output)
    # of these six transformations one is that of the configuration, and one is none
    assert found["storage_bytes"] - one["storage_bytes"] == 8 * 10**6 * (384 + 3 * 100)
    stage, alone = (
        next(stage for stage in plan["stages"] if stage["name"] == "transform") for plan in (found, one)
    )
    assert stage["repeats"] == 5
    assert stage["bytes_written"] == 8 * 10**6 * (2 * 384 + 3 * 100)
    assert stage["seconds"] > alone["seconds"]
    axes = json.dumps({"ridge": [10], "whiten": [0, 0.5], "xi": [0.1, 0.2]})
    bounded = planned(
        tmp_path, {}, f"--set=sweep={axes}", "--set=model.diagonal=at_most", "--set=model.xi=0.1"
    )
    (stage,) = (one for one in json.loads(bounded.output)["stages"] if one["name"] == "transform")
    assert stage["repeats"] == 1
    refused = planned(tmp_path, {}, f"--set=sweep={json.dumps({'ridge': [10], 'truncate_dim': [500]})}")
    assert "the embeddings have 384 dimensions; choose fewer" in " ".join(refused.output.split())


def test_plan_and_check_refuse_what_a_run_would(tmp_path):
    for settings, said in (
        ({"truncate_dim": 400}, "the embeddings have 384 dimensions; choose fewer"),
        ({"whiten": 2}, "transform.whiten is 2 but must be less than or equal to 1"),
    ):
        shown = planned(tmp_path, settings)
        assert shown.exit_code == ConfigError.exit_code
        assert said in " ".join(shown.output.split())
    values = {"workspace": str(tmp_path), "model": {"reg_x": 5}}
    for settings, words, said in (
        ({"truncate_dim": 9}, texts(), "truncate_dim is 9, but the embeddings have 8 dimensions"),
        ({"whiten": 0.5}, [""] * N, "no item has a text with an embedding other than zero"),
    ):
        config = make_config(values | {"transform": settings})
        with pytest.raises(ConfigError, match=said):
            check(config, interactions=interactions(), items=catalog(words), embeddings=vectors())


def test_a_transformation_holds_blocks_of_rows_and_not_all_of_them(tmp_path, monkeypatch):
    """As many float64 entries as n x d has would take 64 MiB here."""
    n, d = 2**17, 64
    workspace = Workspace.create(str(tmp_path / "w"))
    array = ChunkArray.create(
        workspace, layout.embeddings("raw"), shape=(n, d), chunks=(2**14, d), dtype="f4"
    )  # chunks of four blocks
    rows = np.random.default_rng(0).standard_normal((2**14, d)).astype(np.float32)
    for i in range(array.grid[0]):
        array.write(i, 0, rows)
    workspace.mark_stage(Stage.INGEST, "data", {}, DatasetStats(n_users=1, n_items=n).record())
    monkeypatch.setattr(transform, "BLOCK_ENTRIES", 2**18)
    options = TransformConfig(standardize=True, compress="pca", dim=32, whiten=0.5)
    tracemalloc.start()
    transform.transform_embeddings("raw", options, Dataset(workspace, "data"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * 8 * n * d
