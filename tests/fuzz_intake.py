"""Damaged files are read to the rows that other readers give, or refused in a sentence; ``make fuzz-intake``.

Each case is a file that a seed and a number draw (:mod:`intake_mutations`). It is read column by column and compared
with the standard library's and pyarrow's readers (:mod:`intake_oracle`), and every other case is ingested as a log
too and compared with plain Python (:mod:`intake_twin`). A case fails where rows differ, where a refusal is no
``DataError``, is long, or does not name the file and the line, and where reading takes over 10 seconds or 1 GiB.
A case that failed is drawn again by ``--seed S --case N``; its bytes are kept.
"""

import argparse
import json
import multiprocessing
import random
import re
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import intake_oracle as oracle
import pyarrow as pa
from intake_mutations import File, random_file
from intake_samples import LONGEST, rows, section
from intake_twin import Wanted, expected_dataset, written_ids
from table_writers import write_table

SECONDS, BYTES = 10.0, 1 << 30
FEWEST = 2000
# A line need not be named where the fault is the whole file's.
WHOLE = r"empty|no column|no header|header|NUL|UTF-8|UTF-16|encoding|option|once|no row|as Arrow|as Parquet"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    verdict
        ``"read"``, ``"refused"`` or ``"bad"``.
    cause
        Why: a few words.
    detail
        What stands in the report of a failure.
    name, done
        Name of the file, and the mutations.
    seconds, peak
        What it took.
    """

    verdict: str
    cause: str
    detail: str = ""
    name: str = ""
    done: tuple[str, ...] = ()
    seconds: float = 0.0
    peak: int = 0


def draw(seed: int, number: int, folder: Path) -> File:
    """Draw the file of a case."""

    def write(kind: str, columns: list[str], table: list[dict[str, object]]) -> bytes:
        return write_table(folder / "sound", kind, columns, table).read_bytes()

    return random_file(random.Random(f"{seed}:{number}"), write)


def check(seed: int, number: int, folder: Path, every: int = 2) -> Outcome:
    """Read the file of a case and judge what comes of it; each ``every``-th is ingested too, none for 0."""
    file = draw(seed, number, folder)
    path = folder / file.name
    path.write_bytes(file.data)
    _forget_peak()
    started = time.perf_counter()
    try:
        judged = _judge(file, path, ingested=every > 0 and number % every == 0)
    except Exception as error:
        frames = [
            f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)
        ]
        said = f"{type(error).__name__}: {str(error)[:300]} ({', '.join(frames[-5:])})"
        judged = Outcome("bad", f"another exception, {type(error).__name__}", said)
    finally:
        path.unlink()
    taken, peak = time.perf_counter() - started, _peak()
    if peak > BYTES:
        judged = Outcome("bad", "memory", f"{peak >> 20} MiB; {judged}")
    return Outcome(judged.verdict, judged.cause, judged.detail, file.name, tuple(file.done), taken, peak)


def _judge(file: File, path: Path, ingested: bool) -> Outcome:
    from l3ae_dist.errors import DataError

    wanted = oracle.answers(str(path), file.data, file.suffix, file.compression, file.options)
    try:
        ours = _read(path, file.options)
    except DataError as error:
        return _judge_refusal(file, str(error), wanted)
    if not set(oracle.NEEDED) <= set(ours.columns):
        return Outcome("refused", "no column")
    answers = [one for one in wanted if isinstance(one, oracle.Rows)]
    for answer in answers:
        if _same(ours, answer):
            return _ingest(file, path, answer) if ingested else Outcome("read", "equal")
    if not ours.rows and any(
        isinstance(one, oracle.Refused) and one.reason in ("empty", "header") for one in wanted
    ):
        return Outcome("read", "no rows")
    difference = _difference(ours, answers[0]) if answers else f"others refuse it: {wanted}"
    return Outcome("bad", "rows differ", difference)


def _read(path: Path, options: dict[str, str]) -> oracle.Rows:
    """Read every column by the package."""
    from l3ae_dist.config.data import TextOptions
    from l3ae_dist.data.intake.open_table import open_table
    from l3ae_dist.data.intake.parts import Form, form_of

    table = open_table(str(path), "interactions", TextOptions(**options))
    found: list[dict[str, object]] = []
    for part in table.parts:
        columns = part.columns()
        for batch in part.batches(columns):
            values = [
                [None if one is None else json.loads(one) for one in column.to_pylist()]
                if form_of(field) is Form.JSON
                else column.to_pylist()
                for field, column in zip(batch.schema, batch.columns, strict=True)
            ]
            found += [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    return oracle.Rows(table.columns, found)


def _same(ours: oracle.Rows, answer: oracle.Rows) -> bool:
    return set(ours.columns) == set(answer.columns) and _text(ours) == _text(answer)


def _text(table: oracle.Rows) -> list[str]:
    names = sorted(table.columns)
    return [repr([row.get(name) for name in names]) for row in table.rows]


def _difference(ours: oracle.Rows, answer: oracle.Rows) -> str:
    if set(ours.columns) != set(answer.columns):
        return f"columns {ours.columns} for {answer.columns}"[:600]
    a, b = _text(ours), _text(answer)
    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"{len(a)} rows for {len(b)}; row {first}: {a[first : first + 1]} for {b[first : first + 1]}"[
        :1200
    ]


def _judge_refusal(file: File, message: str, wanted: list[oracle.Answer]) -> Outcome:
    """A refusal names the file and the line, and is not of a sound file."""
    cause = _cause(message)
    if file.sound:
        return Outcome("bad", "a sound file is refused", message[:1000])
    if len(message) > LONGEST:
        return Outcome("bad", "a long message", message[:1500])
    if file.name not in message and not re.search(r"log\.\w+", message):
        return Outcome("bad", "the file is not named", message)
    named = [int(one) for one in re.findall(r"\blines? (\d+)", message)]
    faults = [one for one in wanted if isinstance(one, oracle.Refused) and one.lines is not None]
    blamed = bool(faults) and not any(isinstance(one, oracle.Rows) for one in wanted)
    if blamed and not named and not re.search(WHOLE, message):
        return Outcome("bad", "the line is not named", f"{message} / {faults[:2]}")
    if named and len(faults) == 1 and faults[0].reason == "fields" and "field" in message:
        first, last = faults[0].lines or (0, 0)
        if not first <= named[0] <= last:
            return Outcome("bad", "another line is named", f"{message} / {faults[0]}")
    return Outcome("refused", cause)


def _cause(message: str) -> str:
    """The words of a message that stay the same from file to file."""
    words = re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|\d+|log\S*", "_", message)
    return " ".join(words.split()[:9])


def _ingest(file: File, path: Path, answer: oracle.Rows) -> Outcome:
    """Store the log and compare it with plain Python."""
    from l3ae_dist import Workspace, make_config, run
    from l3ae_dist.data.dataset import Dataset
    from l3ae_dist.errors import DataError

    expected = _expected(file, answer)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        config = make_config(section(Path(folder) / "w", **file.options))
        try:
            result = run(config, interactions=str(path), until="ingest")
        except DataError as error:
            if expected is not None:
                return Outcome("bad", "rows are read and not ingested", str(error)[:1000])
            return _judge_refusal(file, str(error), [])
        dataset = Dataset(Workspace.open(f"{folder}/w"), result["dataset"]["id"])
        if expected is None:
            return Outcome("read", "ids of several kinds")
        found = (dataset.user_ids().tolist(), rows(dataset))
    if found != (expected.users, expected.splits["train"]):
        return Outcome("bad", "the dataset differs", f"{found!r:.600} for {expected!r:.600}")
    return Outcome("read", "ingested")


def _expected(file: File, answer: oracle.Rows) -> "object | None":
    """The dataset in plain Python; None where there is no telling, or it must be refused."""
    columns = {}
    if file.is_text and any(all(row[name] == name for name in oracle.NEEDED) for row in answer.rows):
        return None  # the rule: a row that repeats the header in the columns that are read is refused
    for name in oracle.NEEDED:
        values = [row[name] for row in answer.rows]
        ids = _ids(values, written=file.is_text and file.suffix not in (".json", ".jsonl", ".ndjson"))
        if ids is None:
            return None
        columns[name] = ids
    table = [dict(zip(columns, pair, strict=True)) for pair in zip(*columns.values(), strict=True)]
    return expected_dataset(table, sorted(set(columns["item_id"])), Wanted()) if table else None


def _ids(values: list[object], written: bool) -> "list[int] | list[str] | None":
    if written:
        texts = [str(value) for value in values]
        if all(_is_number(text) for text in texts) and not all(
            re.fullmatch(r"-?\d{1,18}", text) for text in texts
        ):
            return None  # numbers that a spreadsheet may have rounded
        return written_ids(texts) if all(texts) else None
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 for value in values):
        return [int(str(value)) for value in values]
    if all(isinstance(value, str) and value for value in values):
        texts = [str(value) for value in values]
        return None if any("\ud800" <= sign <= "\udfff" for text in texts for sign in text) else texts
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _forget_peak() -> None:
    pa.default_memory_pool().release_unused()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) << 10 if found else 0


def work(seed: int, every: int, pipe: Connection) -> None:
    """Check the cases that come through a pipe."""
    with tempfile.TemporaryDirectory() as folder:
        check(seed, -1, Path(folder))  # imports count for no case
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            pipe.send(check(seed, number, Path(folder), every))


@dataclass
class Fuzz:
    """Cases in several processes, each under a limit of time.

    Parameters
    ----------
    seed
        Of every draw.
    until
        Time at which no case is begun, when ``fewest`` were.
    fewest
        Cases to make at least.
    every
        Each so many-th file is ingested too; none for 0.
    """

    seed: int
    until: float
    fewest: int
    every: int
    next: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int | None:
        """Return the number of the next case; None at the end."""
        with self.lock:
            if self.next >= self.fewest and time.perf_counter() >= self.until:
                return None
            self.next += 1
            return self.next - 1

    def drive(self) -> None:
        """Give cases to a process, and start another in place of one that hangs or ends."""
        context = multiprocessing.get_context("spawn")
        number = self.take()
        while number is not None:
            here, there = context.Pipe()
            process = context.Process(target=work, args=(self.seed, self.every, there), daemon=True)
            process.start()
            there.close()
            try:
                if not here.poll(120):
                    raise TimeoutError("a process does not start")
                here.recv()
                while number is not None:
                    here.send(number)
                    if not here.poll(SECONDS + 2):
                        self.outcomes[number] = Outcome("bad", "hangs", f"over {SECONDS + 2} seconds")
                        break
                    self.outcomes[number] = here.recv()
                    number = self.take()
            except (EOFError, ConnectionError):
                process.join(5)
                self.outcomes[number] = Outcome("bad", "the process ended", f"exit code {process.exitcode}")
            if number is None:
                here.send(None)
                process.join(30)
            else:
                process.kill()
                number = self.take()
            here.close()


def report(fuzz: Fuzz, keep: Path) -> int:
    """Print how many files were read and refused, and each failure; keep the files that failed."""
    outcomes = dict(sorted(fuzz.outcomes.items()))
    verdicts = Counter(one.verdict for one in outcomes.values())
    causes = Counter((one.verdict, one.cause) for one in outcomes.values())
    print(f"seed {fuzz.seed}: {len(outcomes)} files, {verdicts['read']} read, {verdicts['refused']} refused")
    for (verdict, cause), count in causes.most_common():
        print(f"{count:>6}  {verdict}: {cause}")
    slow = max(outcomes, key=lambda number: outcomes[number].seconds)
    large = max(outcomes, key=lambda number: outcomes[number].peak)
    print(
        f"slowest {outcomes[slow].seconds:.1f} s (case {slow}), largest {outcomes[large].peak >> 20} MiB (case {large})"
    )
    bad = {number: one for number, one in outcomes.items() if one.verdict == "bad"}
    for number, one in bad.items():
        with tempfile.TemporaryDirectory() as folder:
            file = draw(fuzz.seed, number, Path(folder))
        keep.mkdir(parents=True, exist_ok=True)
        kept = keep / f"{fuzz.seed}-{number}-{file.name}"
        kept.write_bytes(file.data)
        print(
            f"\ncase {number} ({file.name}, {file.options}, {', '.join(file.done)}): {one.cause}\n  {one.detail}"
        )
        print(
            f"  {file.data[:200]!r}\n  kept as {kept}; again: python tests/fuzz_intake.py --seed {fuzz.seed} --case {number}"
        )
    return int(bool(bad))


def main() -> int:
    """Run the cases that the arguments ask for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="of every draw; a new one when not given")
    parser.add_argument("--seconds", type=float, default=150, help="time for cases")
    parser.add_argument("--files", type=int, default=FEWEST, help="files to read at least")
    parser.add_argument("--case", type=int, default=None, help="one case, in this process")
    parser.add_argument(
        "--ingest", type=int, default=2, metavar="N", help="ingest each N-th file too; 0 for none"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for files that fail")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    if given.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            outcome = check(seed, given.case, Path(folder), given.ingest)
        print(outcome)
        return int(outcome.verdict == "bad")
    fuzz = Fuzz(seed, time.perf_counter() + given.seconds, given.files, given.ingest)
    drivers = [threading.Thread(target=fuzz.drive) for _ in range(given.processes)]
    for one in drivers:
        one.start()
    for one in drivers:
        one.join()
    return report(fuzz, given.keep)


if __name__ == "__main__":
    sys.exit(main())
