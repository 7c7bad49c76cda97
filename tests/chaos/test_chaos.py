"""The machine itself: draws depend on seed and index alone, and what is wrong is found."""

import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from clocks import set_monotonic

from chaos import job
from chaos.damage import DAMAGE, Victim
from chaos.draws import Draw, build
from chaos.job import Answer, Job, Questions, waited
from chaos.oracle import difference, is_chunk, judge, other_artifacts, sentence_fault
from chaos.stores import Bucket
from chaos.trouble import ON_DISKS


class Memory:
    """Files in memory."""

    url = "memory"

    def __init__(self, contents):
        self.contents = dict(contents)

    def read(self):
        return dict(self.contents)

    def write(self, key, data):
        self.contents[key] = data

    def delete(self, key):
        del self.contents[key]


@pytest.mark.parametrize(("load", "slices"), [(0.3, 60), (2.0, 60), (8.0, 240)])
def test_a_command_hangs_after_a_minute_of_the_cores_that_others_leave_it(load, slices, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    set_monotonic(monkeypatch, job, lambda: clock[0])

    def never(seconds):
        clock[0] += 1.0
        return False

    assert not waited(never)
    assert clock[0] == slices
    assert waited(lambda seconds: True)


class Unsteady(BaseHTTPRequestHandler):
    """A server that fails at first."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b"here"
        self.send_response(500 if self.asked < 3 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def log_message(self, *_):
        pass


def test_a_bucket_holds_the_files_of_one_draw_alone(s3_environment):
    endpoint = s3_environment["AWS_ENDPOINT_URL"]
    one, other = (Bucket(endpoint, f"draw-14-{number}/w") for number in (1, 2))
    one.write("meta/model.json", b"{}")
    assert (one.read(), other.read()) == ({"meta/model.json": b"{}"}, {})
    assert b"meta/model.json" not in other._ask("GET", "/draw-14-2?list-type=2")
    assert Bucket(endpoint, "draw-14-1/w").read() == one.read()


def test_an_error_of_the_server_itself_is_no_fault_of_a_draw():
    with ThreadingHTTPServer(("127.0.0.1", 0), Unsteady) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert Bucket(f"http://127.0.0.1:{server.server_port}", "bucket/w")._ask("GET", "/") == b"here"
        server.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("chaos"), None)


def test_the_undisturbed_job_gives_the_same_bits_where_it_runs_alone(world):
    first, second = world.states["first"], world.states["second"]
    assert first.needed <= set(first.files)
    assert all(second.files[key] == data for key, data in first.files.items() if is_chunk(key))
    assert first.answers["recommend"] != second.answers["recommend"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_depends_on_the_seed_alone_and_changes_files(world, kind):
    done = []
    for _ in range(2):
        files = Memory(world.states["second"].files)
        older = [world.states["embedded"].files, world.states["first"].files]
        victim = Victim(files, files.read(), older, random.Random("7:3"))
        said = DAMAGE[kind](victim)
        assert victim.now == files.contents
        done.append((said, files.contents))
    assert done[0] == done[1]
    assert (done[0][1] != world.states["second"].files) == (kind != "times")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(4, err="stage: done\nerror: chunk (0, 0) of P is missing; run `l3ae-dist run`.\n"), None),
        (Answer(1, err="error: internal error, KeyError: 'c'; repeat with --debug.\n"), "internal error"),
        (Answer(1, err="Traceback (most recent call last)\n"), "internal error"),
        (Answer(1, crash="Traceback: KeyError"), "traceback"),
        (Answer(4, err=""), "without one sentence"),
        (Answer(4, err="error: one\nerror: two\n"), "without one sentence"),
        (Answer(4, err="error: " + "x" * 2000), "characters"),
    ],
)
def test_a_refusal_is_one_sentence(answer, wrong):
    found = sentence_fault(answer)
    assert (found is None) if wrong is None else wrong in found


def test_a_difference_is_named():
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == "a: [1] b: 2 for 3"


def test_blanks_in_a_header_are_no_other_bits():
    key, header = "items/a/zarr.json", b'{"node_type": "array", "shape": [2]}'
    assert other_artifacts({key: header + b"\n"}, {key: header}) == []
    for other in (header.replace(b"2", b"3"), header + b"}", b""):
        assert other_artifacts({key: other}, {key: header}) == [key]
    assert other_artifacts({}, {key: header}) == [key]


def test_a_draw_is_made_again_from_its_seed_and_index(world):
    steps = []
    for _ in range(2):
        draw = Draw(world, 7, 5)
        draw.outcome.steps.clear()
        outcome = draw.make()
        steps.append([step for step in outcome.steps if not step.startswith("  exit code")])
        shutil.rmtree(draw.scratch)
    assert steps[0] == steps[1]


@pytest.mark.parametrize("state", ["nothing", "embedded"])
def test_before_a_model_is_fitted_status_tells_none_and_nothing_else_is_an_answer(world, state, tmp_path):
    questions, allowed = (
        Questions(Job.of_this_machine(), "w", "first", tmp_path),
        [world.states[state], world.states["first"]],
    )
    none, other = '{"model": null}', '{"model": {"dataset": "another"}}'
    assert judge("status", questions, Answer(0, out=none), allowed) is None
    assert "another answer" in judge("status", questions, Answer(0, out=other), allowed)
    assert "another answer" in judge("status", questions, Answer(0, out=none), allowed[1:])
    assert "another answer" in judge("explain", questions, Answer(0, out="[]"), allowed[:1])


@pytest.mark.faults
@pytest.mark.parametrize("kind", [*DAMAGE, *ON_DISKS])
def test_after_a_fault_of_each_kind_the_bits_are_the_undisturbed_ones(world, kind):
    draw = Draw(world, 14, 0, only=[kind])
    outcome = draw.make()
    shutil.rmtree(draw.scratch)
    assert outcome.verdict == "passed", "\n".join([outcome.wrong, *outcome.steps])
