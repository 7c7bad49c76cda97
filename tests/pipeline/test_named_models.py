"""Which model answers: every model has a name, one is current, and a replacement is told and lossless."""

import contextlib
import itertools
import json
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
from small_fits import fit, tables
from typer.testing import CliRunner

import l3ae_dist
from l3ae_dist.cli.app import app
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError, StageMissingError, WorkspaceError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.garbage import collect_garbage
from l3ae_dist.operations.usage import workspace_usage
from l3ae_dist.pipeline.named_models import known_models, read_current
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

COMPUTE = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 16}
EASE = {"name": "ease"}
NEW = pd.DataFrame({"user_id": [900, 900, 901, 901], "item_id": [1, 2, 3, 4]})


def configured(where, **more):
    model = {"name": "ease", "reg_x": 10, **more.pop("model", {})}
    values = {
        "workspace": str(where),
        "model": model,
        "evaluate": {"ks": [3, 20]},
        "compute": COMPUTE,
        **more,
    }
    return make_config(values)


def ran(where, on_event=None, until="fit", **more):
    log, items, _ = tables()
    return run(configured(where, **more), interactions=log, items=items, until=until, on_event=on_event)


def appended(where, **more):
    return l3ae_dist.append(str(where), NEW, compute=COMPUTE, **more)


def names(where):
    return [one["name"] for one in l3ae_dist.models(where)]


def current(where):
    (name,) = (one["name"] for one in l3ae_dist.models(where) if one["current"])
    return name


def messages(events):
    return [event["message"] for event in events if event["kind"] == "log"]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def after_append_of_one_run(tmp_path_factory):
    where = tmp_path_factory.mktemp("named") / "w"
    ran(where)
    appended(where)
    return where


@pytest.fixture
def after_append(after_append_of_one_run, tmp_path):
    shutil.copytree(after_append_of_one_run, tmp_path / "w")
    return tmp_path / "w"


def test_the_same_run_twice_is_one_model(tmp_path):
    first = ran(tmp_path / "w")
    second = ran(tmp_path / "w")
    assert second["reused"]
    assert first["model"] == second["model"]
    assert "replaced" not in second
    assert names(tmp_path / "w") == [first["model"]["name"]]
    assert first["model"]["name"].startswith("ease-20")
    assert first["model"]["name"].endswith("-1")
    measured = ran(tmp_path / "w", until=None)
    assert measured["model"]["name"] == first["model"]["name"], "a run of the fitted model is that model"
    assert len(names(tmp_path / "w")) == 1


def test_a_run_after_an_append_says_what_it_replaces_and_the_appended_users_are_kept(after_append):
    ours = current(after_append)
    events = []
    result = ran(after_append, on_event=events.append)
    assert result["reused"], "the run was complete"
    assert result["replaced"]["name"] == ours
    assert result["replaced"]["dropped"] == {"interactions": 4, "users": 2, "items": 0}
    told = result["replaced"]["message"]
    assert "4 interactions, 2 users" in told
    assert told in messages(events)
    assert current(after_append) == result["model"]["name"] != ours
    with pytest.raises(l3ae_dist.errors.UnknownIdError):
        load_model(after_append).recommend([900], 3)
    assert len(load_model(after_append, ours).recommend([900], 3)) == 3
    shown = invoke("status", after_append).stdout
    assert shown.index(result["model"]["name"]) < shown.index(ours)
    assert "4 interactions, 2 users" in shown


def test_a_run_that_computes_says_so_too(after_append):
    ours, events = current(after_append), []
    result = ran(after_append, on_event=events.append, model={"reg_x": 30})
    assert not result["reused"]
    assert result["replaced"]["name"] == ours
    assert result["replaced"]["message"] in messages(events)
    assert len(names(after_append)) == 3
    stored = Workspace.open(after_append).read_doc(f"results/{result['run']}")
    assert stored["replaced"]["name"] == ours
    again = ran(after_append, model={"reg_x": 30})
    assert "replaced" not in again, "the second time it replaces nothing"


def test_every_call_can_name_a_model(after_append, tmp_path):
    old, new = names(after_append)
    one, two = load_model(after_append, old), load_model(after_append, new)
    assert one.label == old
    assert one.dataset.id != two.dataset.id
    np.testing.assert_array_equal(
        load_model(after_append).weights([1, 2]), two.weights([1, 2]), "the appended one is current"
    )
    assert not np.array_equal(one.weights([1, 2]), two.weights([1, 2]))
    assert one.workspace.inverse.path != two.workspace.inverse.path
    assert Workspace.open(after_append).of_model(old).inverse.path == one.workspace.inverse.path
    assert l3ae_dist.EASE.load(after_append, old).model_.label == old
    one.save(tmp_path / "saved")
    assert names(tmp_path / "saved") == [old]
    for command in (
        ["recommend", after_append, "1", "--json"], ["similar", after_append, "1", "--json"],
        ["explain", after_append, "1", "2", "--json"], ["export", after_append, tmp_path / "out", "--json"],
        ["report", after_append, "--output", tmp_path / "r.html", "--json"],
    ):  # fmt: skip
        answers = []
        for name in (old, new):
            done = invoke(*command, "--model", name)
            assert done.exit_code == 0, done.output
            answers.append(done.stdout)
        assert answers[0] != answers[1] or command[0] in ("export", "explain"), command
    for command in ("recommend", "similar", "export", "report", "explain", "append", "evaluate"):
        arguments = {"explain": ["1", "2"], "report": [], "evaluate": [], "append": [tmp_path / "x.csv"]}
        done = invoke(command, after_append, *arguments.get(command, ["1"]), "--model", "nobody")
        assert done.exit_code == ConfigError.exit_code, (command, done.output)
        assert old in done.stderr.replace("\n", " "), command
        assert "Traceback" not in done.output
    done = invoke("compare", f"{after_append}#{old}", f"{after_append}#{new}", "--json")
    assert done.exit_code == 0, done.output


def test_an_append_can_name_the_model_and_what_it_makes(after_append):
    old, new = names(after_append)
    more = NEW.assign(user_id=NEW.user_id + 50)
    result = l3ae_dist.append(str(after_append), more, compute=COMPUTE, model=old)
    assert result["model"]["parent"] == old
    assert result["replaced"]["name"] == new
    assert result["replaced"]["dropped"]["users"] == 2
    grown = load_model(after_append, new).append(
        NEW.assign(user_id=NEW.user_id + 90), compute=COMPUTE, name="prod"
    )
    assert grown.label == current(after_append) == "prod"
    assert len(names(after_append)) == 4
    assert grown.dataset.n_users == load_model(after_append, new).dataset.n_users + 2
    with pytest.raises(ConfigError, match="is taken by another model"):
        load_model(after_append, old).append(NEW, compute=COMPUTE, name="prod")


def test_a_given_name_stands_for_one_model(tmp_path):
    where = tmp_path / "w"
    first = ran(where, name="prod")
    assert first["model"]["name"] == "prod"
    events = []
    with pytest.raises(ConfigError, match="'prod' is taken by another model"):
        ran(where, on_event=events.append, name="prod", model={"reg_x": 30})
    assert events == [], "it was refused before anything was computed"
    with pytest.raises(ConfigError, match="is taken"):
        ran(where, name="PROD", model={"reg_x": 30})
    assert ran(where, name="prod")["reused"]
    assert ran(where, name="also")["model"]["name"] == "also", "a model may have several names"
    assert names(where) == ["also", "prod"]
    for bad in ("../x", "", "a b", "a/b", ".hidden", "x" * 65, "a\nb"):
        with pytest.raises(ConfigError, match="letters, digits"):
            ran(where, name=bad)
        with pytest.raises(ConfigError, match="letters, digits"):
            load_model(where, bad)


def test_another_model_is_made_current(after_append):
    old, new = names(after_append)
    told = l3ae_dist.use_model(after_append, old)
    assert told["model"]["name"] == old
    assert told["replaced"]["name"] == new
    assert load_model(after_append).label == old
    done = invoke("use", after_append, new)
    assert done.exit_code == 0, done.output
    assert load_model(after_append).label == new
    done = invoke("use", after_append, "nobody")
    assert done.exit_code == ConfigError.exit_code
    assert old in done.stderr
    assert json.loads(invoke("use", after_append, old, "--json").stdout)["model"]["name"] == old
    with pytest.raises(StageMissingError):
        l3ae_dist.use_model(Workspace.create(after_append.parent / "empty").url, "x")


def test_measuring_a_model_leaves_the_current_one(tmp_path):
    where = tmp_path / "w"
    first = fit(where, until="fit", **EASE, reg_x=20)["model"]["name"]
    second = fit(where, until="fit", **EASE, reg_x=40)["model"]["name"]
    measured = load_model(where, first).evaluate(ks=[3], metric="ndcg@3", bootstrap=0, compute=COMPUTE)
    assert measured["model"]["name"] == first
    assert current(where) == second
    again = load_model(where, first).evaluate(ks=[3], metric="ndcg@3", bootstrap=0, compute=COMPUTE)
    assert again["reused"]
    assert again["model"]["name"] == first
    assert current(where) == second
    done = invoke("evaluate", where, "--model", first, "--json", "--set", "compute.cluster=synchronous",
                  "--set", "evaluate.ks=[3]", "--set", "evaluate.metric=ndcg@3", "--set", "report=false")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["models"]["EASE"]["params"] == {"reg_x": 20.0}
    assert current(where) == second


SWEEP = {"ridge": [30, 90], "reg_f": [5], "reg_e": [10, 20]}


def test_a_sweep_keeps_the_models_that_are_there_and_its_pick_is_kept(tmp_path):
    where = tmp_path / "w"
    log, items, rows = tables()
    values = {"workspace": str(where), "compute": COMPUTE, "evaluate": {"ks": [3, 20]}}
    data = {"interactions": log, "items": items, "embeddings": rows}
    for ridge in SWEEP["ridge"]:  # the sweep tries these ridges too, and drops what it does not pick
        model = {"reg_x": ridge - 15, "reg_f": 5, "reg_e": 15}
        run(make_config({**values, "model": model}), **data, until="fit")
    before = [(name, load_model(where, name).recommend([1, 2], 3)) for name in names(where)]
    swept = l3ae_dist.sweep(make_config({**values, "sweep": SWEEP}), **data)
    assert swept["model"]["by"] == "sweep"
    assert swept["replaced"]["name"] == before[-1][0]
    for name, answers in before:
        pd.testing.assert_frame_equal(load_model(where, name).recommend([1, 2], 3), answers)
    result = run(
        make_config({**values, "model": {"reg_x": 85, "reg_f": 5, "reg_e": 15}}), **data, until="fit"
    )
    assert result["replaced"]["name"] == swept["model"]["name"]
    assert "picked by a sweep" in result["replaced"]["message"]
    assert len(load_model(where, swept["model"]["name"]).recommend([1], 3))


def test_a_workspace_of_an_earlier_version_opens_and_its_model_is_kept(tmp_path):
    where = tmp_path / "w"
    first = ran(where, until=None)
    space = Workspace.open(where)
    document = space.read_doc("model")
    for key in ("label", "given", "made", "by", "parent", "since", "replaced"):
        del document[key]
    space.write_doc("model", document)
    space.write_doc(f"fitted/{first['run']}", document)
    shutil.rmtree(where / "meta" / "models")
    old = load_model(where)
    assert old.label == f"ease-{first['finished'][:10]}-1"
    assert load_model(where, old.label).label == old.label
    assert invoke("status", where).exit_code == 0
    answers = old.recommend([1], 3)
    result = ran(where, model={"reg_x": 30})
    assert result["replaced"]["name"] == old.label
    pd.testing.assert_frame_equal(load_model(where, old.label).recommend([1], 3), answers)
    assert len(names(where)) == 2


@pytest.mark.parametrize("killed_at", range(6))
def test_a_run_that_is_killed_between_two_documents_leaves_a_whole_current_model(
    after_append, monkeypatch, killed_at
):
    ours, written = current(after_append), []
    write = Workspace.write_doc

    def killed(self, key, value):
        if key.startswith(("models/", "fitted/", "model", "results/")):
            if len(written) == killed_at:
                raise KeyboardInterrupt
            written.append(key)
        write(self, key, value)

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "write_doc", killed)
        with contextlib.suppress(KeyboardInterrupt):
            ran(after_append, model={"reg_x": 30}, name="next")
    assert current(after_append) in (ours, "next")
    assert len(load_model(after_append).recommend([1], 3)) == 3
    assert len(load_model(after_append, ours).recommend([900], 3)) == 3
    assert ran(after_append, model={"reg_x": 30}, name="next")["model"]["name"] == "next"
    assert current(after_append) == "next"
    assert len(names(after_append)) == 3
    assert read_current(Workspace.open(after_append)).replaced.name == ours


def test_status_leads_with_the_current_model(after_append):
    ours = current(after_append)
    document = json.loads(invoke("status", after_append, "--json").stdout)
    assert document["current"]["name"] == ours
    assert document["current"]["by"] == "append"
    assert [one["name"] for one in document["models"]] == names(after_append)
    shown = invoke("status", after_append).stdout
    first = next(line for line in shown.splitlines() if not line.startswith("Workspace:"))
    assert ours in first
    assert "EASE" in first
    assert "append" in first


def test_models_that_only_their_documents_tell_of_are_listed_once(after_append):
    assert [one.label for one in known_models(Workspace.open(after_append))] == names(after_append)


def test_gc_keeps_what_was_appended_picked_or_named_and_says_what_goes(after_append):
    first, grown = names(after_append)
    ran(after_append, model={"reg_x": 30}, name="mine")
    plain = ran(after_append, model={"reg_x": 40})["model"]["name"]
    last = ran(after_append, model={"reg_x": 50})["model"]["name"]
    planned = collect_garbage(str(after_append), dry_run=True)
    done = collect_garbage(str(after_append))
    assert done.given_up == planned.given_up == sorted([first, plain]), "the appended one goes on from it"
    assert set(names(after_append)) == {grown, "mine", last} == set(done.models)
    for name in names(after_append):
        assert len(load_model(after_append, name).recommend([1], 3)) == 3
    with pytest.raises(ConfigError, match="has no model"):
        load_model(after_append, plain)
    for wrong in (last, "nobody"):
        with pytest.raises(ConfigError, match=r"current model|is no model"):
            collect_garbage(str(after_append), drop=[wrong])
    shown = invoke("gc", after_append, "--drop", "mine")
    assert shown.exit_code == 0, shown.output
    assert "models deleted: mine" in shown.stdout
    assert set(names(after_append)) == {grown, last}
    assert {one.name for one in workspace_usage(str(after_append)).models} == {grown, last}
    assert grown in invoke("du", after_append).stdout
    again = ran(after_append, model={"reg_x": 40})["model"]["name"]
    assert again not in (plain, last, grown, first), "a name is not given twice"


def test_a_damaged_document_of_a_model_is_written_again_from_another(after_append):
    old, new = names(after_append)
    space = Workspace.open(after_append)
    before = space.read_doc(f"models/{old}")
    (after_append / "meta" / "models" / f"{old}.json").write_text("{")
    ran(after_append, model={"reg_x": 30})
    after = space.read_doc(f"models/{old}")
    assert {**after, "epoch": 0} == {**before, "epoch": 0}, "written by a later run"
    assert len(load_model(after_append, new).recommend([900], 3)) == 3


def test_evaluate_measures_the_model_as_it_was_solved(after_append):
    old, _ = names(after_append)
    model = load_model(after_append, old)
    for setting in ({"dtype": "float32"}, {"tile_size": 8}):
        with pytest.raises(ConfigError, match="as it was fitted"):
            model.evaluate(ks=[3], metric="ndcg@3", bootstrap=0, compute={**COMPUTE, **setting})


def test_runs_without_sources_go_on_with_the_data_of_the_model_that_became_current(after_append):
    old, new = names(after_append)
    space = Workspace.open(after_append)
    for name in (old, new):
        l3ae_dist.use_model(after_append, name)
        assert space.read_doc("last_run")["dataset"] == load_model(after_append, name).dataset.id
    ran(after_append)
    assert space.read_doc("last_run")["dataset"] == load_model(after_append, old).dataset.id
    load_model(after_append, new).evaluate(ks=[3], metric="ndcg@3", bootstrap=0, compute=COMPUTE)
    assert space.read_doc("last_run")["dataset"] == load_model(after_append, old).dataset.id


def test_readers_see_one_model_or_the_other_while_the_current_one_changes(after_append):
    wanted = {name: load_model(after_append, name).weights([1, 2]) for name in names(after_append)}
    stop = threading.Event()

    def change():
        for name in itertools.cycle(wanted):
            if stop.is_set():
                return
            l3ae_dist.use_model(after_append, name)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(40):
            model = load_model(after_append)
            np.testing.assert_array_equal(model.weights([1, 2]), wanted[model.label])
            assert len(l3ae_dist.models(after_append)) == 2
    finally:
        stop.set()
        thread.join()


def test_a_document_with_a_name_that_is_a_path_is_refused(after_append):
    space = Workspace.open(after_append)
    document = space.read_doc("model")
    space.write_doc("model", {**document, "label": "../../../outside"})
    for call in (lambda: load_model(after_append), lambda: ran(after_append, model={"reg_x": 30})):
        with pytest.raises(WorkspaceError, match="no model can have"):
            call()
    assert not list(after_append.parent.rglob("outside*"))


def test_verify_looks_at_every_model_and_not_at_the_current_one_alone(tmp_path):
    where = tmp_path / "w"
    ran(where, name="first")
    ran(where, model={"reg_x": 500}, name="second")
    assert invoke("verify", where).exit_code == 0
    workspace = Workspace.open(where)
    (first,) = (model for model in known_models(workspace) if model.label == "first")
    for path in first.terms.paths():  # with their done-marks and completion records: no trace is left
        for stage, identifier in layout.makers(path):
            workspace.reopen_stage(stage, identifier)
        workspace.blobs.delete_prefix(path)
        workspace.blobs.delete_prefix(layout.done_marks(path))
    found = invoke("verify", where)
    assert found.exit_code == 6
    assert "the model first needs it" in found.output
    assert "the model second" not in found.output
    assert invoke("gc", where, "--drop", "first").exit_code == 0
    assert invoke("verify", where).exit_code == 0


def test_an_append_can_name_its_model_in_python_too(after_append):
    assert appended(after_append, model=names(after_append)[0], name="named")["model"]["name"] == "named"
    assert "named" in names(after_append)
    with pytest.raises(ConfigError, match="bad name"):
        appended(after_append, name="bad name!")


def test_an_estimator_says_which_models_are_of_its_kind(after_append):
    old, new = names(after_append)
    with pytest.raises(ConfigError, match=r"holds EASE, not L3AE; use EASE.load, or load_model\."):
        l3ae_dist.L3AE.load(after_append)
    swapped = ran(after_append, model={"name": "gfcf", "rank": 4}, until="fit")["model"]["name"]
    with pytest.raises(ConfigError, match=f"{old}, {new}"):
        l3ae_dist.EASE.load(after_append)
    assert l3ae_dist.EASE.load(after_append, new).model_.label == new
    assert current(after_append) == swapped
