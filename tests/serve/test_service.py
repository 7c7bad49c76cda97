"""The HTTP service on a real socket: its answers are the model's, its refusals are sentences, its swaps fail nobody."""

import contextlib
import http.client
import json
import os
import shutil
import threading
import time

import pytest
from small_fits import fit

pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")

from l3ae_dist.model.fitted import load_model
from l3ae_dist.serve import current as current_module
from l3ae_dist.serve.app import make_app
from l3ae_dist.serve.current import Current
from l3ae_dist.serve.limits import MOST_BYTES
from l3ae_dist.serve.schema import MOST_USERS
from l3ae_dist.serving import HEADER, load_export


@contextlib.contextmanager
def service(target, **options):
    """Run a service in a thread; yields a function that asks it."""
    import socket

    import uvicorn

    current = Current(str(target), look_seconds=0.02)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(make_app(current, **options), log_level="error", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield Client(port, current)
        finally:
            server.should_exit = True
            thread.join(30)


class Client:
    """Asks a service, one connection a request."""

    def __init__(self, port, current):
        self.port, self.current = port, current

    def __call__(self, method, path, body=None, headers=None, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            given = {"Content-Type": "application/json", **(headers or {})}
            data = json.dumps(body) if raw is None and body is not None else raw
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            content = answer.read()
            kind = answer.headers["content-type"] or ""
            return answer.status, json.loads(content) if kind == "application/json" else content.decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    where = tmp_path_factory.mktemp("serve") / "w"
    fit(where)
    return where


@pytest.fixture(scope="module")
def export(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "first"
    load_model(fitted).export_weights(folder, 20)
    return folder


@pytest.fixture(scope="module")
def of_export(export):
    with service(export) as ask:
        yield ask


@pytest.fixture(scope="module")
def of_workspace(fitted):
    with service(fitted) as ask:
        yield ask


HISTORIES = [[1, 5, 9], [0], [], [30, 31, 32, 33]]


def test_an_export_answers_as_its_model_does_in_this_process(of_export, export):
    status, answer = of_export("POST", "/recommend", {"histories": HISTORIES, "n": 7})
    model = load_export(export)
    wanted = list(model.named(*model.recommend(HISTORIES, 7)))
    assert status == 200
    assert [[(one["item_id"], one["score"]) for one in lists] for lists in answer["results"]] == [
        [(one["item_id"], one["score"]) for one in lists] for lists in wanted
    ]
    assert answer["model"] == "first"
    assert answer["results"][2] == []


def test_one_history_and_many_get_the_same_lists(of_export):
    together = of_export("POST", "/recommend", {"histories": HISTORIES * 10, "n": 5})[1]["results"]
    alone = [
        of_export("POST", "/recommend", {"histories": [one], "n": 5})[1]["results"][0] for one in HISTORIES
    ]
    assert together == alone * 10


def test_weights_lists_and_seen_items_are_obeyed(of_export, export):
    from scipy import sparse

    model = load_export(export)
    asked = {"histories": [[2, 8]], "weights": [[3.0, 0.5]], "n": 40, "exclude_seen": False, "block": [4, 5],
             "allow": [2, 4, 5, 6, 7]}  # fmt: skip
    status, answer = of_export("POST", "/recommend", asked)
    row = sparse.csr_matrix(([3.0, 0.5], ([0, 0], [2, 8])), shape=(1, model.n_items))
    items, scores = model.recommend(
        row, 40, filter_already_liked=False, filter_items=[4, 5], items=[2, 4, 5, 6, 7]
    )
    found = [(one["item_id"], one["score"]) for one in answer["results"][0]]
    assert status == 200
    assert found == [(int(i), float(s)) for i, s in zip(items[0], scores[0], strict=True) if i >= 0]


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
def test_reasons_add_up_to_the_score(of, request):
    ask = request.getfixturevalue(of)
    status, answer = ask("POST", "/recommend", {"histories": [[1, 5, 9, 20]], "n": 5, "reasons": 4})
    assert status == 200
    assert len(answer["results"][0]) == 5
    for one in answer["results"][0]:
        totals = [why["total"] for why in one["reasons"]]
        assert totals == sorted(totals, reverse=True)
        assert sum(totals) == pytest.approx(one["score"], rel=1e-5, abs=1e-6)


def test_a_workspace_answers_as_its_model_does_known_users_too(of_workspace, fitted):
    model = load_model(fitted)
    for asked, users in (({"users": [3, 40, 3]}, [3, 40, 3]), ({"histories": HISTORIES}, HISTORIES)):
        status, answer = of_workspace("POST", "/recommend", {**asked, "n": 6})
        assert status == 200, answer
        for user, found in zip(users, answer["results"], strict=True):
            frame = model.recommend([user], 6)
            assert [one["item_id"] for one in found] == frame["item_id"].tolist()
            assert [one["score"] for one in found] == pytest.approx(frame["score"].tolist(), rel=1e-12)


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
def test_similar_items_are_those_of_the_model(of, request, export, fitted):
    status, answer = request.getfixturevalue(of)("POST", "/similar", {"items": [7, 3], "n": 4})
    if of == "of_export":
        model = load_export(export)
        wanted = [[one["item_id"] for one in lists] for lists in model.named(*model.similar_items([7, 3], 4))]
    else:
        frame = load_model(fitted).similar_items([7, 3], 4)
        wanted = [frame.loc[frame["item_id"] == item, "similar_item_id"].tolist() for item in (7, 3)]
    assert status == 200
    assert [[one["item_id"] for one in lists] for lists in answer["results"]] == wanted


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
def test_an_item_or_a_user_that_is_asked_for_twice_gets_the_same_list_twice(of, request):
    ask = request.getfixturevalue(of)
    once = ask("POST", "/similar", {"items": [7], "n": 3})[1]["results"]
    assert ask("POST", "/similar", {"items": [7, 7, 7], "n": 3})[1]["results"] == once * 3
    if of == "of_workspace":
        once = ask("POST", "/recommend", {"users": [3], "n": 3})[1]["results"]
        assert ask("POST", "/recommend", {"users": [3, 3], "n": 3})[1]["results"] == once * 2


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
@pytest.mark.parametrize("unknown", ["refuse", "skip"])
def test_an_id_is_known_in_both_of_its_forms(of, unknown, request):
    ask = request.getfixturevalue(of)
    rest = {"n": 4, "block": [2], "unknown_items": unknown}
    numbers = ask("POST", "/recommend", {"histories": [[1, 5]], **rest})
    assert numbers[0] == 200
    assert ask("POST", "/recommend", {"histories": [["1", "5"]], **rest, "block": ["2"]}) == numbers
    assert ask("POST", "/similar", {"items": ["7"]}) == ask("POST", "/similar", {"items": [7]})
    if of == "of_workspace":
        assert ask("POST", "/recommend", {"users": ["3"]}) == ask("POST", "/recommend", {"users": [3]})


def test_ids_that_are_text_are_known_in_both_forms_too_whatever_they_are_called(tmp_path):
    import pandas as pd

    from l3ae_dist.config.load import make_config
    from l3ae_dist.pipeline.run import run

    names = ["user_id", "item_id", "7", "lamp", "chair"]
    log = pd.DataFrame([(f"u{u}", names[(u + i) % 5]) for u in range(12) for i in (0, 1, 3)],
                       columns=["user_id", "item_id"])  # fmt: skip
    values = {"workspace": str(tmp_path / "w"), "model": {"name": "ease", "reg_x": 1},
              "compute": {"cluster": "synchronous", "threads": 1}}  # fmt: skip
    run(make_config(values), interactions=log, items=pd.DataFrame({"item_id": names}), until="fit")
    with service(tmp_path / "w") as ask:
        for history in (["user_id", "item_id"], ["7"], [7]):
            status, answer = ask("POST", "/recommend", {"histories": [history], "n": 2})
            assert (status, len(answer["results"][0])) == (200, 2)
        assert ask("POST", "/similar", {"items": [7]})[0] == 200


REFUSED = {
    "nobody": ({}, 422, "users or histories"),
    "both": ({"users": [1], "histories": [[1]]}, 422, "one of the two"),
    "no such field": ({"histories": [[1]], "top": 5}, 422, "top"),
    "n of 0": ({"histories": [[1]], "n": 0}, 422, "n"),
    "n of a million": ({"histories": [[1]], "n": 1_000_000}, 422, "1000"),
    "too many users": ({"histories": [[1]] * (MOST_USERS + 1)}, 422, str(MOST_USERS)),
    "an id that is a number with a fraction": ({"histories": [[1.5]]}, 422, "histories"),
    "an id that is true": ({"histories": [[True]]}, 422, "histories"),
    "weights of other length": ({"histories": [[1, 2]], "weights": [[1.0]]}, 422, "weights"),
    "endless scores": ({"histories": [[1, 2]], "weights": [[3e38, 3e38]]}, 422, "weights"),
    "an answer without end": ({"histories": [[1]] * MOST_USERS, "n": 1000, "reasons": 50}, 422, "200,000"),
    "negative weights": ({"histories": [[1]], "weights": [[-1.0]]}, 422, "weights"),
    "an unknown item": ({"histories": [[1, 987654]]}, 404, "987654"),
    "an id beyond 64 bits": ({"histories": [[10**30]]}, 404, "10000"),
    "an unknown item to block": ({"histories": [[1]], "block": [987654]}, 404, "987654"),
}  # fmt: skip


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_answered_is_one_sentence(of, name, request):
    body, status, words = REFUSED[name]
    found, answer = request.getfixturevalue(of)("POST", "/recommend", body)
    assert set(answer) == {"error", "message"}, answer
    assert (found, words in answer["message"]) == (status, True), answer
    assert "\n" not in answer["message"]
    assert "Traceback" not in answer["message"]


@pytest.mark.parametrize("of", ["of_export", "of_workspace"])
def test_unknown_items_of_a_history_are_passed_over_where_that_is_asked_for(of, request):
    ask = request.getfixturevalue(of)
    with_unknown = {"histories": [[1, 987654, 5]], "weights": [[2.0, 1.0, 3.0]], "unknown_items": "skip"}
    without = {"histories": [[1, 5]], "weights": [[2.0, 3.0]]}
    assert ask("POST", "/recommend", with_unknown)[1] == ask("POST", "/recommend", without)[1]


def test_an_export_knows_no_users_and_adds_no_items(of_export, export):
    status, answer = of_export("POST", "/recommend", {"histories": [["lamp"]]})  # its ids are numbers
    assert (status, "lamp" in answer["message"]) == (404, True)
    status, answer = of_export("POST", "/recommend", {"users": [1]})
    assert (status, "histories" in answer["message"]) == (422, True)
    item = {"items": [{"item_id": 9001, "text": "a lamp"}]}
    assert of_export("POST", "/items", item)[0] == 403
    with service(export, new_items=True) as ask:
        status, answer = ask("POST", "/items", item)
        assert (status, "encoder" in answer["message"]) == (422, True)


def test_what_is_no_json_and_what_is_too_long_is_refused(of_export):
    assert of_export("POST", "/recommend", raw=b"{")[0] == 422
    assert of_export("POST", "/recommend", raw=b"[]")[0] == 422
    body = json.dumps({"histories": [[1]]}).encode()
    for kind in ("text/plain", ""):  # what a page of another site may send without being asked first
        assert of_export("POST", "/recommend", raw=body, headers={"Content-Type": kind})[0] == 422
    assert of_export("POST", "/similar", {"items": list(range(40)) * 6, "n": 1000})[0] == 422
    status, answer = of_export("POST", "/recommend", raw=b" " * (MOST_BYTES + 1))
    assert (status, answer["error"]) == (413, "RequestTooLong")
    chunked = {"Transfer-Encoding": "chunked"}
    parts = iter([b"100000\r\n" + b" " * 0x100000 + b"\r\n"] * 3 + [b"0\r\n\r\n"])
    assert of_export("POST", "/recommend", raw=parts, headers=chunked)[0] == 413
    for path, wanted, error in (("/nowhere", 404, "NotFound"), ("/recommend", 405, "MethodNotAllowed")):
        status, answer = of_export("GET", path)
        assert (status, answer["error"], "/docs" in answer["message"]) == (wanted, error, True)


def test_pages_tell_of_life_the_model_and_the_requests(of_export, export):
    assert of_export("GET", "/healthz") == (200, {"alive": True})
    assert of_export("GET", "/readyz") == (200, {"ready": True, "model": "first"})
    status, about = of_export("GET", "/model")
    assert (status, about["source"], about["items"]) == (200, "export", load_export(export).n_items)
    assert about["certificate"]["residual"] <= about["certificate"]["tolerance"]
    of_export("GET", "/nowhere/" + "x" * 100)
    page = of_export("GET", "/metrics")[1]
    assert 'l3ae_requests_total{path="/recommend",status="200"}' in page
    assert 'path="other"' in page
    assert "xxx" not in page
    assert "l3ae_model_items 40.0" in page


def test_the_page_of_the_api_needs_no_other_server_and_has_examples(of_export):
    status, page = of_export("GET", "/docs")
    assert status == 200
    assert "http://" not in page
    assert "https://" not in page
    schema = of_export("GET", "/openapi.json")[1]
    assert schema["components"]["schemas"]["RecommendRequest"]["examples"]
    assert {"/recommend", "/similar", "/items", "/model", "/healthz", "/readyz", "/metrics"} == set(
        schema["paths"]
    )


def test_a_name_that_leads_here_from_elsewhere_is_refused(export):
    with service(export, hosts=("127.0.0.1", "localhost")) as ask:
        assert ask("GET", "/healthz")[0] == 200
        assert ask("GET", "/healthz", headers={"Host": "attacker.example"})[0] == 400


def test_a_new_export_takes_over_and_no_request_fails(fitted, tmp_path):
    model = load_model(fitted)
    for name, k in (("one", 5), ("two", 9)):
        model.export_weights(tmp_path / name, k)
    link = tmp_path / "current"
    link.symlink_to("one")
    seen, wrong, done = [], [], threading.Event()

    def ask_on(ask):
        while not done.is_set():
            status, answer = ask("POST", "/recommend", {"histories": [[1, 5]], "n": 3})
            (seen if status == 200 else wrong).append(answer.get("model", answer))

    with service(link) as ask:
        threads = [threading.Thread(target=ask_on, args=(ask,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            following = tmp_path / "following"
            following.symlink_to(("two", "one")[number % 2])
            os.replace(following, link)
            reached, deadline = len(seen), time.monotonic() + 20
            while seen[reached:].count(("two", "one")[number % 2]) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        done.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert set(seen) == {"one", "two"}
        assert "l3ae_model_swaps_total 10.0" in ask("GET", "/metrics")[1]
        assert "l3ae_models_refused_total 0.0" in ask("GET", "/metrics")[1]


def test_an_export_that_is_damaged_or_gone_leaves_the_one_that_answers(fitted, tmp_path, caplog):
    folder = tmp_path / "export"
    load_model(fitted).export_weights(folder, 5)
    current = Current(str(folder))
    before = current.open()
    kept = (folder / HEADER).read_bytes()
    (folder / HEADER).write_bytes(kept[:-20])
    assert not current.swap_if_new()
    assert not current.swap_if_new()  # told once
    shutil.rmtree(folder)
    assert not current.swap_if_new()
    assert current.answers is before
    assert len([record for record in caplog.records if "stays as it is" in record.message]) == 1
    load_model(fitted).export_weights(folder, 7)
    assert current.swap_if_new()
    assert current.answers is not before


def test_the_current_model_of_a_workspace_takes_over(tmp_path):
    from l3ae_dist import use_model

    where = tmp_path / "w"
    fit(where)
    first = load_model(where).label
    current = Current(str(where))
    assert current.open().about()["model"] == first
    assert not current.swap_if_new()
    fit(where, reg_x=20, name="ease")
    second = load_model(where).label
    assert second != first
    assert current.swap_if_new()
    assert current.answers.about()["model"] == second
    use_model(where, first)
    assert current.swap_if_new()
    assert current.answers.about()["model"] == first


def test_an_export_that_changes_while_it_is_opened_is_opened_again(fitted, tmp_path, monkeypatch):
    for name, k in (("one", 5), ("two", 9)):
        load_model(fitted).export_weights(tmp_path / name, k)
    link = tmp_path / "current"
    link.symlink_to("one")
    opened = []

    class Turned(current_module.ExportAnswers):
        def __init__(self, folder):
            super().__init__(folder)
            opened.append(folder.name)
            if len(opened) == 1:
                link.unlink()
                link.symlink_to("two")

    monkeypatch.setattr(current_module, "ExportAnswers", Turned)
    current = Current(str(link))
    assert (current.open().name, opened) == ("two", ["one", "two"])


def test_what_goes_wrong_with_the_next_model_does_not_end_the_looks(fitted, tmp_path, monkeypatch):
    folder = tmp_path / "export"
    load_model(fitted).export_weights(folder, 5)
    current, failures = Current(str(folder), look_seconds=0.01), []
    before = current.open()

    def full(folder):
        failures.append(folder)
        raise MemoryError

    answers = current_module.ExportAnswers
    monkeypatch.setattr(current_module, "ExportAnswers", full)
    current.watch()
    load_model(fitted).export_weights(folder, 7)
    deadline = time.monotonic() + 20
    while len(failures) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert current.answers is before
    monkeypatch.setattr(current_module, "ExportAnswers", answers)
    while current.answers is before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    current.close()


def test_a_service_without_a_model_is_alive_and_not_ready(export):
    with service(export) as ask:
        answers, ask.current._answers = ask.current._answers, None
        assert ask("GET", "/healthz")[0] == 200
        assert ask("GET", "/readyz")[0] == 503
        status, answer = ask("POST", "/recommend", {"histories": [[1]]})
        assert (status, answer["error"]) == (503, "NotReady")
        ask.current._answers = answers
        assert ask("GET", "/readyz")[0] == 200
