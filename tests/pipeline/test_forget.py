"""Users who are taken out of a model, of the data, and of every byte of a workspace; beside fits without them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist import DAN, EASE, L3AE, LAE, AdditiveEASE
from l3ae_dist.cli import app as cli
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.forgotten import Forgotten, Request
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.without_users import without_users
from l3ae_dist.errors import ConfigError, DamagedDocumentError, DataError, UnknownIdError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.status import workspace_status
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.named_models import known_models
from l3ae_dist.runtime.events import ignore
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

N, TILE = 150, 32
SYNCHRONOUS = {
    "cluster": "synchronous", "dtype": "float64", "tile_size": TILE, "memory_budget": "1GiB",
}  # fmt: skip
HERE = {"cluster": "synchronous"}
# Nothing else of a workspace has these bytes.
PLANTED = ["planted-QXJZWK-anna", "planted-QXJZWK-öçe"]
WEIGHT = 3.1415827


def log(seed=0, n=N, users=240):
    """Interactions of users named by text; those of the planted users have a weight of their own."""
    rng = np.random.default_rng(seed)
    names = [f"u{number}" for number in range(users)] + PLANTED
    rows = [(u, int(i), 1.0) for u in names for i in rng.choice(n, rng.integers(3, 12), replace=False)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "weight"])
    frame.loc[frame.user_id.isin(PLANTED), "weight"] = WEIGHT
    return frame.assign(split=rng.choice(["train", "train", "train", "val", "test"], len(frame)))


def without(frame):
    return frame[~frame.user_id.isin(PLANTED)]


@pytest.fixture
def texts():
    rng = np.random.default_rng(5)
    f = rng.standard_normal((N, 12)).astype(np.float32)
    return pd.DataFrame({"item_id": range(N)}), f / np.linalg.norm(f, axis=1, keepdims=True)


def run(where, frame, texts, model=None, compute=SYNCHRONOUS, **options):
    """Fit with held-out interactions and weights, and measure."""
    config = l3ae_dist.make_config({
        "workspace": str(where),
        "data": {"options": {"split_column": "split", "weight_column": "weight", **options}},
        "model": model or {"name": "l3ae", "reg_x": 5.0, "reg_f": 2.0, "reg_e": 30.0},
        "evaluate": {"bootstrap": 0},
        "compute": compute,
    })  # fmt: skip
    items, vectors = texts
    given = {} if config.model.uses != "embeddings" else {"embeddings": vectors}
    return l3ae_dist.run(config, interactions=frame, items=items, **given)


def everything(where):
    """Every byte of a folder, and what its compressed files hold."""
    for path in sorted(where.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
            if path.suffix == ".parquet":
                yield (
                    path,
                    json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode(),
                )


def found(where):
    """Files in which a planted user's id or weight is, or a name that is one."""
    marks = [name.encode() for name in PLANTED] + [np.float32(WEIGHT).tobytes(), str(WEIGHT).encode()]
    marks += [json.dumps(name).strip('"').encode() for name in PLANTED]
    held = {path for path, data in everything(where) if any(mark in data for mark in marks)}
    return held | {path for path in where.rglob("*") if any(name in str(path) for name in PLANTED)}


def same_weights(one, other, tolerance=1e-11):
    ids = list(range(N))
    made, wanted = load_model(one).weights(ids), load_model(other).weights(ids)
    assert np.abs(made - wanted).max() <= tolerance * np.abs(wanted).max()


MEMBERS = [
    EASE(reg_x=20.0),
    L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0),
    LAE(reg_x=20.0),
    AdditiveEASE(reg_x=20.0, reg_f=2.0, alpha=0.3, features="embeddings"),
    DAN(reg_x=20.0, p=0.0, alpha=0.3, beta=0.0),
]


@pytest.mark.parametrize("model", MEMBERS, ids=lambda one: type(one).__name__)
def test_the_model_forgets_at_once_and_is_a_fit_without_the_users(tmp_path, texts, model):
    frame, (items, vectors) = log(), texts
    given = {"embeddings": vectors} if {"reg_f", "features"} & model.get_params().keys() else {}
    before = model.set_params(compute=SYNCHRONOUS).fit(frame, items, workspace=tmp_path / "a", **given)
    assert len(before.recommend([PLANTED[0]], 5)) == 5
    result = l3ae_dist.forget(str(tmp_path / "a"), PLANTED, compute=HERE)
    assert result["forget"]["state"] == "pending erasure"
    assert result["forget"]["pending_users"] == 2
    changed = not isinstance(model, DAN)
    assert result["update"]["changed"] is changed
    if changed:
        assert (result["update"]["rank"], result["update"]["users"]) == (2, 2)
    other = type(model)(**model.get_params())
    other.fit(without(frame), items, workspace=tmp_path / "b", **given)
    same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UnknownIdError):
        load_model(tmp_path / "a").recommend([PLANTED[0]], 5)
    rest = ["u0", "u7", "u200"]
    made, wanted = (load_model(tmp_path / place).recommend(rest, 10) for place in ("a", "b"))
    assert made["item_id"].tolist() == wanted["item_id"].tolist()
    # the model before is there until the erasure
    assert len(load_model(tmp_path / "a", before.model_.label).recommend([PLANTED[0]], 5)) == 5


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "pending first"])
def test_no_byte_is_left_of_users_who_are_erased(tmp_path, texts, at_once):
    frame, where = log(), tmp_path / "w"
    run(where, frame, texts)
    new = pd.DataFrame(
        {"user_id": [PLANTED[0], "u3", "late"], "item_id": [1, 2, 3], "weight": [WEIGHT, 1.0, 1.0]}
    )
    l3ae_dist.update(str(where), new, compute=HERE, name="updated")
    load_model(where).export_weights(tmp_path / "export", 10)
    load_model(where).save(tmp_path / "copy")
    assert found(where)
    assert all(found(tmp_path / place) for place in ("copy",))
    if not at_once:
        assert l3ae_dist.forget(str(where), PLANTED, compute=HERE)["forget"]["state"] == "pending erasure"
        assert found(where)
        assert workspace_status(str(where)).forgotten["state"] == "pending erasure"
    result = l3ae_dist.forget(str(where), PLANTED if at_once else (), erase=True, compute=HERE)
    told = result["forget"]
    assert told["state"] == "erased"
    assert (told["users"], told["pending_users"]) == (2, 0)
    assert "updated" in told["models"]
    assert found(where) == set()
    kinds = {(one["kind"], one["place"]) for one in told["elsewhere"]}
    assert kinds == {("export", str(tmp_path / "export")), ("saved model", str(tmp_path / "copy"))}
    assert [one["current"] for one in l3ae_dist.models(where)] == [True]
    assert not verify_workspace(str(where), ignore).damage
    everyone = pd.concat([frame, new])
    run(tmp_path / "b", without(frame), texts)
    l3ae_dist.append(str(tmp_path / "b"), without(new), compute=SYNCHRONOUS)
    assert len(without(everyone)) < len(everyone)
    same_weights(where, tmp_path / "b", 1e-10)
    measured = [load_model(place).evaluate(bootstrap=0, compute=HERE) for place in (where, tmp_path / "b")]
    one, other = (result["models"]["L3AE"]["test"]["ndcg@20"] for result in measured)
    assert one == pytest.approx(other, rel=1e-6)
    collect_garbage(str(where))
    same_weights(where, tmp_path / "b", 1e-10)
    # what the workspace does afterwards
    fresh = pd.DataFrame({"user_id": ["later"], "item_id": [9], "weight": [1.0]})
    assert l3ae_dist.append(str(where), fresh, compute=SYNCHRONOUS)["append"]["interactions"] == 1
    assert found(where) == set()


def test_who_is_forgotten_stays_out_of_logs_that_are_read_later(tmp_path, texts):
    frame, where = log(), str(tmp_path / "w")
    run(where, frame, texts)
    l3ae_dist.forget(where, PLANTED[:1], erase=True, compute=HERE)
    again = run(where, frame, texts)
    rows = int((frame.user_id == PLANTED[0]).sum())
    assert again["dataset"]["dropped"]["forgotten"] == rows
    assert again["dataset"]["n_users"] == frame.user_id.nunique() - 1
    run(tmp_path / "b", frame[frame.user_id != PLANTED[0]], texts)
    same_weights(where, tmp_path / "b")
    new = pd.DataFrame({"user_id": [PLANTED[0], "new"], "item_id": [4, 5], "weight": [1.0, 1.0]})
    appended = l3ae_dist.append(where, new, compute=SYNCHRONOUS)
    assert (appended["append"]["users"], appended["append"]["interactions"]) == (1, 1)
    more = pd.DataFrame({"user_id": [PLANTED[0], "u5"], "item_id": [6, 7], "weight": [1.0, 1.0]})
    assert l3ae_dist.update(where, more, compute=HERE)["append"]["users"] == 0
    with pytest.raises(UnknownIdError):
        load_model(where).recommend([PLANTED[0]], 5)
    with pytest.raises(DataError, match="every user of the log was forgotten"):
        run(where, frame[frame.user_id == PLANTED[0]], texts)
    load_model(where).save(tmp_path / "copy")
    kept_out = l3ae_dist.append(str(tmp_path / "copy"), new.assign(item_id=[8, 9]), compute=SYNCHRONOUS)
    assert kept_out["append"]["interactions"] == 1


def test_models_of_forgotten_users_are_neither_used_nor_grown(tmp_path, texts):
    frame, where = log(), str(tmp_path / "w")
    run(where, frame, texts)
    before = known_models(Workspace.open(where))[0].label
    l3ae_dist.forget(where, PLANTED, compute=HERE)
    with pytest.raises(ConfigError, match=r"fitted on 2 user\(s\) who were forgotten"):
        l3ae_dist.use_model(where, before)
    new = pd.DataFrame({"user_id": ["u1"], "item_id": [1], "weight": [1.0]})
    for grow in (l3ae_dist.append, l3ae_dist.update):
        with pytest.raises(ConfigError, match="forgotten"):
            grow(where, new, model=before, compute=HERE)


def test_logs_that_were_appended_before_the_users_were_forgotten_are_known(tmp_path, texts):
    frame, where = log(), str(tmp_path / "w")
    run(where, frame, texts)
    new = pd.DataFrame({"user_id": ["u1", PLANTED[0]], "item_id": [1, 2], "weight": [1.0, 1.0]})
    l3ae_dist.append(where, new, compute=SYNCHRONOUS)
    l3ae_dist.forget(where, PLANTED, erase=True, compute=HERE)
    weights = load_model(where).weights([0, 1, 2])
    assert l3ae_dist.append(where, new, compute=SYNCHRONOUS)["append"]["already"]
    np.testing.assert_array_equal(load_model(where).weights([0, 1, 2]), weights)


def test_a_deadline_that_has_come_erases(tmp_path, texts):
    frame, where = log(), str(tmp_path / "w")
    run(where, frame, texts)
    told = l3ae_dist.forget(where, PLANTED, deadline=30, compute=HERE)["forget"]
    assert (told["state"], told["overdue"]) == ("pending erasure", False)
    workspace = Workspace.open(where)
    forgotten = Forgotten.read(workspace)
    passed = tuple(replace(one, deadline="2020-02-20") for one in forgotten.requests)
    replace(forgotten, requests=passed).write(workspace)
    assert workspace_status(where).forgotten["overdue"]
    new = pd.DataFrame({"user_id": ["u1"], "item_id": [1], "weight": [1.0]})
    said = []
    result = l3ae_dist.update(where, new, compute=HERE, on_event=said.append)
    assert any("are to be erased by now" in getattr(one, "message", "") for one in said)
    assert (result["forget"]["state"], result["update"]["changed"]) == ("erased", False)
    assert found(tmp_path / "w") == set()
    assert l3ae_dist.forget(where, ["u9"], deadline=0, compute=HERE)["forget"]["state"] == "erased"


@pytest.mark.parametrize(
    ("users", "options", "error", "words"),
    [
        (["nobody"], {}, UnknownIdError, "nobody"),
        ([PLANTED[0], "nobody"], {}, UnknownIdError, "1 user id"),
        ([], {}, ConfigError, "no users are given"),
        ([PLANTED[0]], {"deadline": "yesterday"}, ConfigError, "must be a date"),
        ([PLANTED[0]], {"deadline": "2020-01-01"}, ConfigError, "has passed"),
        ([PLANTED[0]], {"deadline": -1}, ConfigError, "has passed"),
        ([PLANTED[0]], {"deadline": 10**12}, ConfigError, "must be a date"),
        ([PLANTED[0]], {"compute": {"dtype": "float32"}}, ConfigError, "dtype"),
        ([PLANTED[0]], {"deadline": True}, ConfigError, "must be a date"),
        ([PLANTED[0]], {"deadline": 2.5}, ConfigError, "must be a date"),
        (PLANTED[0], {}, ConfigError, "single id"),
        (7, {}, ConfigError, "single id"),
        (["\udcff"], {}, UnknownIdError, "1 user id"),
    ],
)
def test_what_is_wrong_is_refused_and_nobody_is_forgotten(tmp_path, texts, users, options, error, words):
    where = str(tmp_path / "w")
    run(where, log(), texts)
    with pytest.raises(error, match=words):
        l3ae_dist.forget(where, users, **{"compute": HERE, **options})
    assert workspace_status(where).forgotten is None
    assert len(load_model(where).recommend([PLANTED[0]], 5)) == 5


def test_the_last_training_interactions_are_not_forgotten(tmp_path):
    where = str(tmp_path / "w")
    EASE(reg_x=1.0, compute=SYNCHRONOUS).fit(
        pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1]}), workspace=where
    )
    with pytest.raises(DataError, match="no training interaction is left"):
        l3ae_dist.forget(where, [1, 2], compute=HERE)
    assert workspace_status(where).forgotten is None
    assert l3ae_dist.forget(where, ["1"], compute=HERE)["forget"]["users"] == 1  # text of an integer


def test_users_who_are_held_out_whole_are_forgotten(tmp_path, texts):
    """The strong split trains on none of them: the inverse stays as it is, and the lists are without them."""
    frame, where = log(), tmp_path / "w"
    run(where, frame, texts, split="strong")
    dataset = Dataset(Workspace.open(str(where)), known_models(Workspace.open(str(where)))[0].dataset)
    trained = np.diff(dataset.user_rows("train", 0, dataset.n_users).indptr)
    users = dataset.user_ids()[trained == 0][:2].tolist()
    weights = load_model(where).weights([0, 1, 2])
    l3ae_dist.forget(str(where), users, compute=HERE)
    np.testing.assert_allclose(load_model(where).weights([0, 1, 2]), weights, rtol=1e-9, atol=1e-13)
    with pytest.raises(UnknownIdError):
        load_model(where).recommend(users[:1], 5)
    assert l3ae_dist.forget(str(where), erase=True, compute=HERE)["forget"]["state"] == "erased"
    np.testing.assert_allclose(load_model(where).weights([0, 1, 2]), weights, rtol=1e-9, atol=1e-13)


def test_models_with_a_core_forget_by_a_solve(tmp_path, texts):
    frame, (items, vectors) = log(), texts

    def fit(where, frame):
        config = l3ae_dist.make_config({
            "workspace": str(where),
            "data": {"options": {"split": "none", "weight_column": "weight"}, "core": {"min_interactions": 10}},
            "model": {"name": "l3ae", "reg_x": 5.0, "reg_f": 2.0, "reg_e": 30.0},
            "compute": SYNCHRONOUS,
        })  # fmt: skip
        return l3ae_dist.run(config, interactions=frame, items=items, embeddings=vectors, until="fit")

    fit(tmp_path / "w", frame)
    fit(tmp_path / "b", without(frame))
    result = l3ae_dist.forget(str(tmp_path / "w"), PLANTED, compute=HERE)
    assert not result["update"]["changed"]
    same_weights(tmp_path / "w", tmp_path / "b", 1e-9)
    assert l3ae_dist.forget(str(tmp_path / "w"), erase=True, compute=HERE)["forget"]["state"] == "erased"
    assert found(tmp_path / "w") == set()
    same_weights(tmp_path / "w", tmp_path / "b", 1e-9)


def test_words_and_transformed_embeddings_are_kept(tmp_path, texts):
    frame, (items, vectors) = log(), texts
    rng = np.random.default_rng(3)
    titled = items.assign(
        title=[" ".join(rng.choice(["red", "blue", "old", "new", "car"], 3)) for _ in range(N)]
    )

    def fit(where, frame, kind):
        words = {"model": {"name": "collective_ease", "reg_x": 20.0, "alpha": 0.5, "features": "words"}}
        white = {
            "model": {"name": "l3ae", "reg_x": 5.0, "reg_f": 2.0, "reg_e": 30.0},
            "transform": {"whiten": 0.5},
        }
        config = l3ae_dist.make_config({
            "workspace": str(where),
            "data": {"options": {"split": "none", "weight_column": "weight", "text_columns": ["title"]}},
            "compute": SYNCHRONOUS,
            **(words if kind == "words" else white),
        })  # fmt: skip
        given = {} if kind == "words" else {"embeddings": vectors}
        return l3ae_dist.run(config, interactions=frame, items=titled, until="fit", **given)

    for kind in ("words", "white"):
        fit(tmp_path / kind, frame, kind)
        fit(tmp_path / f"{kind}-b", without(frame), kind)
        l3ae_dist.forget(str(tmp_path / kind), PLANTED, compute=HERE)
        same_weights(tmp_path / kind, tmp_path / f"{kind}-b", 1e-9)
        l3ae_dist.forget(str(tmp_path / kind), erase=True, compute=HERE)
        same_weights(tmp_path / kind, tmp_path / f"{kind}-b", 1e-9)
        assert found(tmp_path / kind) == set()


def test_the_document_of_who_is_forgotten_is_needed_and_holds_no_id(tmp_path, texts):
    where = tmp_path / "w"
    run(where, log(), texts)
    l3ae_dist.forget(str(where), PLANTED, compute=HERE)
    path = where / layout.document(layout.FORGOTTEN)
    assert not any(name in path.read_text() for name in PLANTED)
    said = json.dumps(workspace_status(str(where)).document(), default=str)
    document = json.loads(path.read_text())
    assert document["key"] not in said
    assert not any(digest in said for digest in document["digests"])
    path.write_text(path.read_text().replace(document["digests"][0], "0" * 32))
    with pytest.raises(DamagedDocumentError, match="keeps forgotten users out"):
        run(where, log(1), texts)
    assert path.exists()


def test_estimators_and_loaded_models_forget(tmp_path, texts):
    frame, (items, _) = log(), texts
    model = EASE(reg_x=20.0, compute=SYNCHRONOUS).fit(frame, items, workspace=tmp_path / "w")
    first = load_model(tmp_path / "w")
    assert model.forget(PLANTED[:1]) is model
    assert model.result_["forget"]["users"] == 1
    with pytest.raises(UnknownIdError):
        model.recommend(PLANTED[:1], 5)
    with pytest.raises(ConfigError, match="is not the current model"):
        first.forget(PLANTED[1:])
    loaded = load_model(tmp_path / "w").forget(PLANTED[1:], erase=True, compute=HERE)
    with pytest.raises(UnknownIdError):
        loaded.recommend(PLANTED[1:], 5)
    assert found(tmp_path / "w") == set()


def test_the_command(tmp_path, texts):
    where = tmp_path / "w"
    run(where, log(), texts)
    (tmp_path / "users.txt").write_text("\n".join(PLANTED) + "\n\n", "utf-8")

    def call(*arguments):
        return CliRunner().invoke(cli.app, ["forget", str(where), *arguments], env={"COLUMNS": "200"})

    here = ("--set", "compute.cluster=synchronous")
    done = call("--users", str(tmp_path / "users.txt"), "--deadline", "30", *here)
    assert done.exit_code == 0, done.output
    assert "changed by 2 rows" in done.output
    assert "pending erasure of 2, due on 20" in done.output
    shown = CliRunner().invoke(cli.app, ["status", str(where)], env={"COLUMNS": "200"})
    assert "pending erasure of 2" in shown.output
    done = call("--erase", "--json", *here)
    assert json.loads(done.stdout)["forget"]["state"] == "erased"
    refused = call("--users", str(tmp_path / "none.txt"))
    assert refused.exit_code != 0
    assert "cannot be read" in refused.stderr
    assert found(where) == set()


def rows_of(dataset):
    """Splits by user id and item id, and the training columns likewise."""
    users, items = dataset.user_ids(), dataset.item_ids()
    parts = {}
    for name in dataset.stats.nnz:
        entries = dataset.user_rows(name, 0, dataset.n_users).tocoo()
        parts[name] = sorted(zip(users[entries.row], items[entries.col], entries.data.tolist(), strict=True))
    entries = dataset.columns(0, dataset.n_items).tocoo()
    parts["columns"] = sorted(zip(users[entries.row], items[entries.col], entries.data.tolist(), strict=True))
    return parts


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_other_dataset_is_the_same_without_the_users(data, tmp_path_factory):
    split = data.draw(st.sampled_from(["none", "random", "strong"]))
    weighted = data.draw(st.booleans())
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=6, max_size=80))
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(weight=1.5)
    folder = tmp_path_factory.mktemp("without")
    workspace = Workspace.create(str(folder / "w"))
    options = IngestConfig(split=split, weight_column="weight" if weighted else None)
    try:
        dataset = Dataset(workspace, ingest(frame, None, options, workspace))
    except DataError:  # nothing to train on
        return
    users = sorted(set(frame.user_id))
    gone = data.draw(st.sets(st.sampled_from(users), max_size=len(users)))
    forgotten = Forgotten().with_users(gone, None)
    expected = {name: [one for one in rows if one[0] not in gone] for name, rows in rows_of(dataset).items()}
    try:
        other = without_users(dataset, forgotten)
    except DataError:
        assert not expected["train"]
        return
    assert rows_of(other) == expected
    assert other.user_ids().tolist() == [one for one in dataset.user_ids().tolist() if one not in gone]
    assert other.item_ids().tolist() == dataset.item_ids().tolist()
    counts = pd.Series([one[1] for one in expected["train"]]).value_counts()
    assert other.stats.max_popularity == counts.max()
    assert other.stats.items_without_interactions == other.n_items - len(counts)
    assert {name: len(expected[name]) for name in other.stats.nnz} == other.stats.nnz
    shutil.rmtree(folder)


def test_requests_are_due_from_their_deadline_on():
    from datetime import date

    request = Request(1, "2026-01-01T00:00:00+00:00", "2026-05-05")
    assert [request.due(date(2026, 5, day)) for day in (4, 5, 6)] == [False, True, True]
    assert not replace(request, erased="2026-05-04T00:00:00+00:00").due(date(2026, 5, 6))
    assert not replace(request, deadline=None).due(date(2030, 1, 1))
    known = Forgotten().with_users([1, "1", "x"], None)
    assert len(known.digests) == 2
    assert known.with_users(["x"], "2027-01-01").requests[0].deadline == "2027-01-01"
    assert known.digest("x") != Forgotten().with_users(["x"], None).digest("x")  # another key


@pytest.mark.parametrize("one", [5.0, np.float64(5), np.int32(5), "5"], ids=repr)
def test_an_id_of_any_form_means_the_user_it_finds(tmp_path, one):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user_id": rng.integers(0, 40, 400), "item_id": rng.integers(0, 20, 400)})
    for name, log in {"whole": frame, "text": frame.assign(user_id=frame.user_id.map("{}".format))}.items():
        where = str(tmp_path / name)
        EASE(reg_x=5.0, compute=SYNCHRONOUS).fit(log.drop_duplicates(), workspace=where)
        assert l3ae_dist.forget(where, [one], erase=True, compute=HERE)["forget"]["users"] == 1
        with pytest.raises(UnknownIdError):
            load_model(where).recommend([log.user_id.iloc[0].__class__(5)], 3)
        assert "5" not in map(str, load_model(where).dataset.user_ids())


def test_what_was_made_of_a_changed_model_is_listed_and_chunks_without_a_mark_go(tmp_path, texts):
    where = tmp_path / "w"
    run(where, log(), texts)
    before = load_model(where).stored.id
    l3ae_dist.forget(str(where), PLANTED, compute=HERE)
    load_model(where).save(tmp_path / "copy")  # its inverse is that with the users
    # as a kill between a chunk and its mark leaves it, and one between the marks and the chunks of a deletion
    for path in (
        where / "users" / "0123456789abcdef" / "ids" / "bytes" / "c" / "0",
        where / "grams" / "0123" / "c" / "0" / "0",
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(PLANTED[0].encode() * 9)
    shutil.rmtree(where / "meta" / "done" / "interactions" / before)
    told = l3ae_dist.forget(str(where), erase=True, compute=HERE)["forget"]
    assert [one["kind"] for one in told["elsewhere"]] == ["saved model"]
    assert found(where) == set()
    assert not list((where / "users").glob("0123456789abcdef/**/0"))
    assert not verify_workspace(str(where), ignore).damage
    free = {path.name for path in (where / "users").iterdir() if path.is_dir()}
    assert len(free) == 1


def test_a_second_model_that_never_knew_the_users_is_kept(tmp_path, texts):
    where = tmp_path / "w"
    run(where, without(log(3)), texts)
    other = known_models(Workspace.open(str(where)))[0].label
    weights = load_model(where).weights([0, 1, 2])
    run(where, log(), texts)
    l3ae_dist.forget(str(where), PLANTED, erase=True, compute=HERE)
    assert len(known_models(Workspace.open(str(where)))) == 2
    np.testing.assert_array_equal(load_model(where, other).weights([0, 1, 2]), weights)
    assert found(where) == set()
    assert not verify_workspace(str(where), ignore).damage


def test_data_with_forgotten_users_are_not_fitted_again(tmp_path, texts):
    """As after a kill between the digests and the fit: no run goes on with the data that hold them."""
    where = tmp_path / "w"
    run(where, log(), texts)
    workspace = Workspace.open(str(where))
    model = known_models(workspace)[0]
    Forgotten.read(workspace).with_users(PLANTED, None).write(workspace)
    config = l3ae_dist.make_config(
        {"workspace": str(where), "model": {"name": "ease"}, "compute": SYNCHRONOUS}
    )
    for source in (None, {"dataset": model.dataset, "embedding": None}):
        with pytest.raises(ConfigError, match="forgotten since"):
            l3ae_dist.run(config, source=source, until="fit")
    assert l3ae_dist.forget(str(where), PLANTED, compute=HERE)["update"]["changed"]
    l3ae_dist.run(config, until="fit")
    with pytest.raises(UnknownIdError):
        load_model(where).recommend(PLANTED[:1], 3)


def test_a_name_that_is_taken_is_refused_before_the_solve(tmp_path, texts):
    where = str(tmp_path / "w")
    run(where, log(), texts)
    l3ae_dist.forget(where, PLANTED, name="clean", compute=HERE)
    seen = []
    with pytest.raises(ConfigError, match="clean"):
        l3ae_dist.forget(where, erase=True, name="clean", compute=HERE, on_event=seen.append)
    assert not any(event.kind == "stage_start" for event in seen)
    assert l3ae_dist.forget(where, erase=True, name="cleaner", compute=HERE)["model"]["name"] == "cleaner"
    assert l3ae_dist.forget(where, ["u1"], erase=True, compute=HERE)["forget"]["state"] == "erased"


def test_a_log_that_is_repeated_after_the_deadline_erases_too(tmp_path, texts):
    where = tmp_path / "w"
    run(where, log(), texts)
    new = pd.DataFrame({"user_id": ["u1"], "item_id": [1], "weight": [1.0]})
    l3ae_dist.update(str(where), new, compute=HERE)
    l3ae_dist.forget(str(where), PLANTED, deadline=1, compute=HERE)
    workspace = Workspace.open(str(where))
    forgotten = Forgotten.read(workspace)
    replace(forgotten, requests=(replace(forgotten.requests[0], deadline="2020-02-20"),)).write(workspace)
    result = l3ae_dist.append(str(where), new, compute=SYNCHRONOUS)
    assert result["append"]["already"]
    assert result["forget"]["state"] == "erased"
    assert "replaced" not in result
    assert found(where) == set()
    assert load_model(where).label == result["model"]["name"]
