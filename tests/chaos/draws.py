"""One draw: a workspace, faults, commands judged, a run, and the undisturbed bits; of (seed, index) alone."""

import json
import pickle
import random
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chaos import oracle
from chaos.damage import DAMAGE, Victim
from chaos.job import Answer, Job, Questions, command, command_apart
from chaos.oracle import Reference
from chaos.processes import STRIKES, Moment, Run, written
from chaos.proxy import Behaviour, proxy
from chaos.stores import Bucket, Files, Folder, fill
from chaos.trouble import IN_BUCKETS, ON_DISKS, counted
from l3ae_dist.storage import layout
from l3ae_dist.storage.completeness import arrays_of_model
from l3ae_dist.storage.workspace import Workspace

# Refusals that are followed one after the other: of a lock, of a header, of what is left of a workspace.
_REMEDIES = 4


@dataclass(frozen=True)
class World:
    """What every draw finds.

    Parameters
    ----------
    folder
        Of the inputs and of the draws' workspaces.
    states
        The undisturbed job at several moments, by their names.
    writes
        How many writes a command makes, by state and command.
    endpoint
        Of the S3 server; None without one.
    """

    folder: Path
    states: dict[str, Reference]
    writes: dict[str, int]
    endpoint: str | None = None

    @classmethod
    def load(cls, folder: Path) -> "World":
        """Read what :func:`build` left."""
        loaded: World = pickle.loads((folder / "world.pickle").read_bytes())
        return loaded


@dataclass
class Outcome:
    """What became of a draw.

    Parameters
    ----------
    index
        Of the draw.
    kinds
        Of its faults.
    steps
        What was done and said, in order.
    wrong
        What is wrong; empty for a draw that passes.
    verdict
        ``"passed"``, ``"wrong"``, ``"traceback"`` or ``"hang"``.
    seconds
        What it took.
    """

    index: int
    kinds: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    wrong: str = ""
    verdict: str = "passed"
    seconds: float = 0.0


class Failed(Exception):
    """A draw that fails, with what is wrong."""


# state before, version that is run, state after
STARTS = (("nothing", "first", "first"), ("embedded", "first", "first"), ("first", "first", "first"),
          ("first", "second", "second"), ("second", "second", "second"), ("second", "second", "second"),
          ("first", "append", "appended"))  # fmt: skip
# of the undisturbed job: name, state before, version that is run, and how far
MOMENTS = (("embedded", "nothing", "first", "embed"), ("first", "embedded", "first", None),
           ("second", "first", "second", None), ("appended", "first", "append", None))  # fmt: skip
ASKED = ("run", "evaluate", "status", "verify", "recommend", "reasons", "similar", "collaborative", "explain", "du",
         "gc", "report", "export", "everyone")  # fmt: skip
# what is answered before a model is fitted
UNFITTED = ("status",)
KINDS: dict[str, Iterable[str]] = {
    "damage": DAMAGE,
    "trouble": {**ON_DISKS, **IN_BUCKETS},
    "process": STRIKES,
}
# of twenty draws, those with processes of their own
REAL = (6, 13, 19)
# exit code of damage
DAMAGED = 6
# strikes after which a command may say nothing
ENDING = ("kill all", "kill client", "terminate")


def build(folder: Path, endpoint: str | None) -> World:
    """Run the undisturbed job, and keep its files and answers at every moment."""
    job = Job.of_this_machine()
    states = {"nothing": Reference({}, {"status": {"model": None}}, frozenset())}
    writes = {}
    scratch = folder / "scratch"
    scratch.mkdir()
    for name, after, version, until in MOMENTS:
        place = Folder(folder / name)
        fill(place, states[after].files)
        questions = Questions(job, place.url, version, scratch)
        needed = frozenset(_alone(job, version, folder)) if until is None else frozenset()
        with counted() as commits:
            done = _until(questions, until) if until else questions.ask("run")
        _sound(done)
        writes[name] = commits.count
        asked = {
            one: questions.told(one, _sound(questions.ask(one)))
            for one in (ASKED if until is None else UNFITTED)
        }
        states[name] = Reference(place.read(), asked, needed)
    world = World(folder, states, writes, endpoint)
    (folder / "world.pickle").write_bytes(pickle.dumps(world))
    return world


def _until(questions: Questions, stage: str) -> Answer:
    from l3ae_dist.config.load import load_config
    from l3ae_dist.pipeline.run import run

    run(load_config(str(questions.of["run"][1])), until=stage)
    return Answer(0)


def _sound(answer: Answer) -> Answer:
    assert answer.code == 0, answer
    return answer


def _alone(job: Job, version: str, folder: Path) -> list[str]:
    """List the files of arrays that a version makes where nothing was, and that its model consists of.

    An append leaves the model before as it was; what that one has alone is told by whoever asks for it by name.
    Vectors of the model that it is compared with are made again when they are needed, once its scores are gone.
    """
    place = Folder(folder / f"alone-{version}")
    questions = Questions(job, place.url, version, folder)
    if questions.mending:
        _sound(command(*questions.mending))
    _sound(questions.ask("run"))
    keys = [key for key in place.read() if key.startswith(oracle.ARTIFACTS)]
    own = tuple(f"{path}/" for path in arrays_of_model(Workspace.open(place.url), layout.CURRENT_MODEL))
    return [key for key in keys if key.startswith((*own, "scores/"))]


def _new_chunks(before: Reference, after: Reference) -> int:
    return sum(key.startswith("meta/done/") and key not in before.files for key in after.files)


class Draw:
    """One draw.

    Parameters
    ----------
    world
        What it finds.
    seed, index
        What it is drawn from.
    note
        Called before every step, so that a hang is known by it.
    only
        Kinds of faults to draw from, where not all.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        index: int,
        note: Callable[[str], None] = lambda step: None,
        only: Iterable[str] = (),
    ) -> None:
        self.world = world
        self.rng = random.Random(f"{seed}:{index}")
        self.outcome = Outcome(index)
        self.note = note
        self.only = frozenset(only)
        self.allowed: list[Reference] = []
        self.scratch = world.folder / f"draw-{seed}-{index}"

    def make(self) -> Outcome:
        """Make the draw and judge it."""
        started = time.perf_counter()
        self.scratch.mkdir()
        try:
            self._make()
        except Failed as failure:
            self.outcome.wrong = str(failure)
            told = str(failure).lower()
            self.outcome.verdict = "hang" if "hangs" in told else "traceback" if "traceback" in told or "internal error" in told else "wrong"  # fmt: skip
        self.outcome.seconds = time.perf_counter() - started
        return self.outcome

    def _make(self) -> None:
        rng, world = self.rng, self.world
        real = self.outcome.index % 20 in REAL
        start, version, end = rng.choice(STARTS[:-1] if real else STARTS)
        distant = rng.random() < 0.15 and world.endpoint is not None
        files: Files = Folder(self.scratch / "w")
        if distant:
            # one for each: the server looks at every key of a bucket for a listing
            files = Bucket(world.endpoint or "", f"{self.scratch.name}/w")
        fill(files, world.states[start].files)
        questions = Questions(Job.of_this_machine(), files.url, version, self.scratch)
        self._say(f"state {start}, {'a bucket' if distant else 'a folder'}, then {version}")
        self.allowed = [world.states[one] for one in dict.fromkeys((start, end))]
        faults = self._faults(start, real)
        for fault in faults:
            if fault == "process":
                self._process(files, version, _new_chunks(world.states[start], world.states[end]))
            elif fault == "trouble":
                self._trouble(files, questions, world.writes[end] if start != end else 4)
            else:
                self._damage(files, start, rng.choice([1, 1, 2]))
        now = files.read()
        at_rest = start == end and faults == ("damage",)
        damaged = oracle.other_chunks(now, world.states[start].files) if at_rest else None
        for name in rng.sample(ASKED, rng.choice([1, 2])):
            self._ask(name, questions, damaged if name == "verify" and now == files.read() else None)
        self._run(questions, files, world.states[end])

    def _faults(self, start: str, real: bool) -> tuple[str, ...]:
        """Draw which faults come one after the other."""
        orders = [("process",), ("process",), ("process", "damage"), ("damage", "process")] if real else [
            ("trouble",), ("damage",), ("damage",), ("damage", "trouble"), ("trouble", "damage")]  # fmt: skip
        if self.only:
            orders = [(name,) for name, kinds in KINDS.items() if self.only & set(kinds)]
        elif start == "nothing":
            orders = [one for one in orders if one[0] != "damage"]
        return self.rng.choice(orders)

    def _kind(self, kinds: Iterable[str]) -> str:
        """Draw a kind of fault, and count it."""
        kind = self.rng.choice(sorted(set(kinds) & self.only or kinds))
        self.outcome.kinds.append(kind)
        return kind

    def _process(self, files: Files, version: str, new: int) -> None:
        """Let a run of real processes, with two workers, run into a fault."""
        folder = self.scratch / "real"
        folder.mkdir()
        config = Job.of_this_machine().config(files.url, version, folder, cluster="local", workers=2)
        if isinstance(files, Folder):
            kind = self._kind(STRIKES)
            moment, before = Moment.drawn(self.rng, new), written(files.root)
            run = Run.start(["run", config, "--json"])
            moment.wait(run, files.root, before)
            self._say(f"run of real processes, {STRIKES[kind](self.rng, run)} {moment}")
            answer = run.finish()
        else:
            assert isinstance(files, Bucket)
            kind, behaviour = self._kind(["store of processes"]), Behaviour.drawn(self.rng)
            self._say(f"run of real processes, {behaviour}")
            with proxy(files.endpoint, behaviour, self.rng.random()) as url:
                answer = Run.start(["run", config, "--json"], AWS_ENDPOINT_URL=url).finish()
        self._say(f"  exit code {answer.code}: {answer.err.strip()[-300:]}")
        if answer.crash or answer.code > 0 or (answer.code < 0 and kind not in ENDING):
            fault = oracle.sentence_fault(answer)
            if fault:
                raise Failed(f"a run of real processes ends with {fault}")

    def _trouble(self, files: Files, questions: Questions, writes: int) -> None:
        """Let a command run into a fault."""
        kinds = ON_DISKS if isinstance(files, Folder) else IN_BUCKETS
        kind = self._kind(kinds)
        name = self.rng.choice(["run", "run", "run", *ASKED])
        trouble = kinds[kind](self.rng, files, writes)
        self._say(f"{name}, {trouble.said}")
        try:
            answer = command_apart(questions.of[name], trouble.prepare, trouble.watch)
        finally:
            trouble.mend()
        self._say(f"  exit code {answer.code}: {answer.err.strip()[-300:]}")
        if answer.code >= 0:
            wrong = oracle.judge(name, questions, answer, self.allowed)
            if wrong:
                raise Failed(f"{name} that is disturbed: {wrong}")

    def _damage(self, files: Files, start: str, count: int) -> None:
        """Damage files at rest; answers of an older state that is restored are right too."""
        before = {"second": ("embedded", "first"), "first": ("nothing", "embedded")}.get(start, ("nothing",))
        older = [self.world.states[one] for one in before]
        victim = Victim(files, files.read(), [one.files for one in older], self.rng)
        for _ in range(count):
            if not victim.now:
                break
            kind = self._kind(DAMAGE)
            if kind == "stale":
                self.allowed += older
            self._say(DAMAGE[kind](victim))

    def _ask(self, name: str, questions: Questions, damaged: list[str] | None) -> None:
        """Ask for an answer and judge it."""
        self._say(f"asked: {name}")
        answer = questions.ask(name)
        if answer.code:
            self._say(f"  exit code {answer.code}: {answer.err.strip()[-300:]}")
        wrong = oracle.judge(name, questions, answer, self.allowed, damaged)
        if wrong:
            raise Failed(f"{name}: {wrong}")

    def _run(self, questions: Questions, files: Files, wanted: Reference) -> None:
        """Run, and require the undisturbed bits; of damage that a finished run does not read, ``verify`` tells it."""
        needed = {key: wanted.files[key] for key in sorted(wanted.needed)}
        self._run_once(questions, wanted)
        found, other = self._verify(questions, needed), oracle.other_artifacts(files.read(), needed)
        if other and not found:
            raise Failed(f"after run {other[:4]} have other bits, and verify finds nothing")
        if found:
            self._say(f"verify finds {found[:2]}")
            self._run_once(questions, wanted)
            found, other = self._verify(questions, needed), oracle.other_artifacts(files.read(), needed)
            if found or other:
                raise Failed(
                    f"after verify and run {other[:4]} have other bits, and verify finds {found[:4]}"
                )
        more = self.rng.choice(
            ["similar", "reasons", "evaluate", "explain", "collaborative", "everyone", "export"]
        )
        for name in ("status", "recommend", more):
            self._ask_again(name, questions, questions.ask(name), wanted)

    def _verify(self, questions: Questions, needed: dict[str, bytes]) -> list[str]:
        """Return the arrays, and headers, of those needed that ``verify`` finds damaged."""
        self.note("verify")
        told = questions.ask("verify")
        if told.code not in (0, DAMAGED) or told.crash or not told.out:
            raise Failed(f"after run, verify: {oracle.sentence_fault(told) or told.err[-600:]}")
        found = json.loads(told.out)
        paths = [one["array"] for one in found["damage"]] + [
            one["path"] for one in found.get("documents", [])
        ]
        return [path for path in paths if any(key.startswith(path) for key in needed)]

    def _run_once(self, questions: Questions, wanted: Reference) -> None:
        """Run, with the remedy that a refusal names, and require the undisturbed result."""
        self._say("run")
        answer = questions.ask("run")
        for _ in range(_REMEDIES):
            if not answer.code or oracle.sentence_fault(answer):
                break
            self._say(f"  exit code {answer.code}: {answer.err.strip()[-300:]}")
            answer = self._follow(questions, answer)
        if answer.code or answer.crash:
            fault = oracle.sentence_fault(answer) or answer.err.strip()[-600:]
            raise Failed(f"run does not mend it: exit code {answer.code}: {fault}")
        self._ask_again("run", questions, answer, wanted)

    def _follow(self, questions: Questions, refusal: Answer) -> Answer:
        """Do what a refusal says, and run again; returns what was refused on the way."""
        left = Path(questions.workspace)
        if "unlock --force" in refusal.err:
            self._say("unlock --force")
            command("unlock", "--force", questions.workspace)
        elif "is not empty and not a workspace" in refusal.err and not list(left.rglob("*.json")):
            self._say("an empty location, as nothing tells that the folder was a workspace")
            shutil.rmtree(left)
        elif questions.mending:
            self._say("run of the data that are appended to")
            mended = command(*questions.mending)
            if mended.code:
                return mended
        else:
            return refusal
        return questions.ask("run")

    def _ask_again(self, name: str, questions: Questions, answer: Answer, wanted: Reference) -> None:
        """Require the undisturbed answer."""
        self.note(f"again: {name}")
        if answer.code or answer.crash:
            raise Failed(
                f"after run, {name}: exit code {answer.code} {answer.crash[-1500:] or answer.err[-600:]}"
            )
        wrong = oracle.judge(name, questions, answer, [wanted])
        if wrong:
            raise Failed(f"after run, {name}: {wrong}")

    def _say(self, step: str) -> None:
        self.outcome.steps.append(step)
        self.note(step)
