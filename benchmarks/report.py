"""The output of every benchmark: figures, their peer, the machine and the versions.

``python benchmarks/report.py NAME`` prints a result as a table, ``--write`` puts today's tables between the
marks of docs/benchmarks.md and docs/accuracy.md (``<!-- figures: NAME -->`` to ``<!-- end -->``), and
``--check`` tells which differ. Results lie in ``benchmarks/results``, or where ``L3AE_BENCHMARK_RESULTS``
says.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accuracy.pages import tables as accuracy_tables

from l3ae_dist.runtime.versions import machine, versions

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MEASURED_BY = {
    "README.md": "make figures",
    "benchmarks.md": "make figures",
    "accuracy.md": "make bench-accuracy",
    "index.md": "make figures",
}
README = Path(__file__).parents[1] / "README.md"
PAGES = (README, PAGE, PAGE.with_name("accuracy.md"), PAGE.with_name("index.md"))
Part = tuple[list[dict[str, Any]], dict[str, Any]]
"""Rows and details of a part of a benchmark."""
_BLOCK = re.compile(r"(<!-- figures: ([a-z-]+) -->\n)(.*?)(\n?<!-- end -->)", re.DOTALL)


def results_folder() -> Path:
    """Return the folder that results are written to and read from."""
    folder = Path(os.environ.get("L3AE_BENCHMARK_RESULTS") or Path(__file__).parent / "results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def result(name: str) -> dict[str, Any]:
    """Read a benchmark's last result."""
    found: dict[str, Any] = json.loads((results_folder() / f"{name}.json").read_text())
    return found


def row(name: str, ours: float, unit: str, peer: float | None = None, target: float | None = None,
        *, smaller: bool = False, faster: bool = False) -> dict[str, Any]:  # fmt: skip
    """Make a row of one figure; ``target`` bounds the ratio to the peer, or without a peer the figure.

    The ratio is ours over the peer's; of seconds that are to be ``faster``, the peer's over ours.
    """
    ratio = None if peer is None else peer / ours if faster else ours / peer
    measured = ours if ratio is None else ratio
    met = None if target is None else (measured <= target if smaller else measured >= target)
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "unit": unit,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def run_parts(name: str, parts: dict[str, Callable[[], Part]], description: str | None) -> None:
    """Run the parts of a benchmark, or those of ``--only``, and write what is there after each.

    Parameters
    ----------
    name
        Of the result; parts that are not run keep their figures.
    parts
        By name what runs each, and returns its rows and details.
    description
        Of the command line.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", help=f"comma-separated parts of {', '.join(parts)}")
    chosen = parser.parse_args().only
    names = chosen.split(",") if chosen else list(parts)
    if unknown := sorted(set(names) - set(parts)):
        parser.error(f"unknown parts {', '.join(unknown)}; known are {', '.join(parts)}")
    path = results_folder() / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text())["parts"] if chosen and path.exists() else {}
    for part in names:
        started = time.perf_counter()
        print(f"{part} ...", flush=True)
        rows, details = parts[part]()
        date = datetime.now(UTC).isoformat(timespec="seconds")
        kept[part] = {"date": date, "rows": rows, **({"details": details} if details else {})}
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        publish(name, [line for one in parts if one in kept for line in kept[one]["rows"]], parts=kept)


def publish(name: str, rows: list[dict[str, Any]], **details: Any) -> None:
    """Print the table and write ``benchmarks/results/NAME.json``."""
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
        **details,
    }
    (results_folder() / f"{name}.json").write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(f"{name}: {document['machine']}")
    for line in rows:
        peer = "" if line["peer"] is None else f"  peer {line['peer']:.4g}  ratio {line['ratio']:.3f}"
        met = "" if line["met"] is None else ("  met" if line["met"] else "  NOT met")
        goal = "" if line["target"] is None else f"  target {line['target']:g}"
        print(f"  {line['name']}: {line['ours']:.4g} {line['unit']}{peer}{goal}{met}")


# What of a table is not measured.
CAPTIONS = {
    "plan": " Hours are estimates with assumed rates; only the seconds of the command are measured.",
    "simulator": " *Ours* is simulated, *peer* is measured.",
}


def markdown(name: str) -> str:
    """Format the rows of a result as a Markdown table."""
    document = result(name)
    return "\n".join([f"{_measured(document)}{CAPTIONS.get(name, '')}", "", *_table(document["rows"])])


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| what | ours | peer | ratio | target | |", "|---|---|---|---|---|---|"]
    for line in rows:
        met = {None: "", True: "met", False: "**not met**"}[line["met"]]
        cells = [f"{line['ours']:.4g} {line['unit']}".strip()]
        cells += ["" if line[key] is None else f"{line[key]:.4g}" for key in ("peer", "ratio", "target")]
        lines.append(f"| {line['name']} | {' | '.join(cells)} | {met} |")
    return lines


def _measured(*documents: dict[str, Any]) -> str:
    dates = sorted({document["date"][:10] for document in documents})
    machines = {
        (d["machine"]["cores"], d["machine"]["memory_gib"], d["machine"]["python"]) for d in documents
    }
    where = "; ".join(f"{cores} cores, {memory:g} GiB, Python {python}" for cores, memory, python in machines)
    return f"Measured on {' and '.join(dates)}: {where}."


def main_job() -> str:
    """Format the table of the main job: ``books``, ``demo``, and ``books-large`` where it was measured."""
    books, demo = result("books"), result("demo")
    try:
        larger = [result("books-large")]
    except FileNotFoundError:
        larger = []
    rows = _job_rows(books, "Amazon Books", "`make bench-books`")
    for large in larger:
        rows += _job_rows(large, "Book-Crossing", "`make bench-books-large`")
        rows += [_lift_row(large["comparison"])]
    demo_of = {line["name"]: line for line in demo["rows"]}
    tuned = demo_of["test NDCG@20 of L3AE, against tuned EASE"]
    rows += [
        (f"MovieLens demo, {demo['items']:,} items: embed, tune 2 models, evaluate",
         f"{demo_of['the demo, everything made']['ours']:.0f} s", "`make demo`"),
        ("its test NDCG@20, L3AE / tuned EASE", f"{tuned['ours']:.4f} / {tuned['peer']:.4f}", ""),
        _lift_row(demo["lift"]),
        ("a second `make demo`, everything complete",
         f"{demo_of['the demo again, everything complete']['ours']:.1f} s", "`make demo`"),
        ("metrics of the published code, all models and both data sets",
         "equal, see [the tests](../tests/test_parity.py)", "`make test parity`"),
    ]  # fmt: skip
    lines = [_measured(books, *larger, demo), "", "| what | figure | command |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(cells)} |" for cells in rows])


def _job_rows(found: dict[str, Any], title: str, command: str) -> list[tuple[str, str, str]]:
    """Return what, figure and command of a whole run on books."""
    of = {line["name"]: line for line in found["rows"]}
    n, budget = found["plan"]["items"], found["plan"]["memory_budget"] / 2**30

    def ours(name: str) -> float:
        return float(of[name]["ours"])

    score = of["L3AE test ndcg@20"]
    return [
        (f"{title}, {n:,} items (dense float32 matrix: {4 * n * n / 1e9:.1f} GB), {budget:g} GiB budget "
         "per worker: embed, fit, evaluate", f"{ours('wall time, embedding included'):.1f} min", command),
        ("peak memory of its worker / projected / budget",
         f"{ours('peak memory of the worker'):.2f} / {ours('projected peak'):.2f} / {budget:.2f} GiB", ""),
        ("factor + invert, counted as n^3", f"{ours('factor + invert'):.0f} GFLOP/s", ""),
        ("bytes read / written by the tile stages",
         f"{ours('bytes read by the tile stages'):.0f} / {ours('bytes written'):.0f} GiB", ""),
        ("relative residual on random probes / tolerance",
         f"{ours('relative residual'):.1e} / {of['relative residual']['target']:.1e}", ""),
        ("test NDCG@20, L3AE / EASE at the same ridge", f"{score['ours']:.4f} / {score['peer']:.4f}", ""),
    ]  # fmt: skip


def _lift_row(lift: dict[str, Any]) -> tuple[str, str, str]:
    interval = f"{_percent(lift['lift'])} % ({_percent(lift['lift_low'])} to {_percent(lift['lift_high'])})"
    return f"lift, with 95 % paired bootstrap interval over {lift['users']:.0f} users", interval, ""


def _percent(value: float) -> str:
    return f"{100 * value:+.1f}"


def headline() -> str:
    """Format the three figures that the README opens with."""
    books, engine = result("books"), _rows_of("engine")
    of = {line["name"]: line for line in books["rows"]}
    n = books["plan"]["items"]
    fit = _starting(engine, "whole L3AE fit, Amazon Toys")
    memory = engine["peak memory of the worker, against the published formulas"]
    return "\n".join(
        [
            f"- **{n:,} items in {of['peak memory of the worker']['ours']:.1f} GiB** a worker (Amazon Books; "
            f"its dense float32 matrix has {4 * n * n / 1e9:.1f} GB): embedded, fitted and evaluated in "
            f"{of['wall time, embedding included']['ours']:.1f} minutes on two cores.",
            f"- **{fit['ratio']:.0f} times faster, a worker in 1/{1 / memory['ratio']:.0f} of the memory**, "
            "than the published formulas in NumPy and float64 (Amazon Toys, 11,758 items, two cores).",
            "- **The published metrics, to the digit**: the figures of the authors' code, for all models and "
            "both data sets, are tests (`tests/test_parity.py`).",
        ]
    )


def short() -> str:
    """Format the main table of the README: what was measured, against what, and its target."""
    engine, model, large = _rows_of("engine"), _rows_of("model"), _rows_of("books-large")
    rows = [
        ("fit of L3AE, Amazon Toys, 11,758 items", _starting(engine, "whole L3AE fit"),
         "formulas as published"),
        ("its peak memory of the worker", engine["peak memory of the worker, against the published formulas"],
         "formulas as published"),
        ("factor and inverse out of core, n = 16,384", _starting(engine, "factor + invert, n = 16384"),
         "LAPACK in core"),
        ("factor and inverse, n = 8,192", _starting(engine, "factor + invert, n = 8192"),
         "dask.array.linalg"),
        ("72,304 books of Book-Crossing: peak of the worker",
         _starting(large, "peak memory of the worker, against the dense"), "dense float32 matrix"),
        ("100 models on 5 ridges, Amazon Toys, evaluated",
         _starting(model, "the same, against 100 separate fits"), "separate fits (extrapolated)"),
        ("users served a second from an export of 100 weights an item, Amazon Games",
         _starting(model, "games: export of k = 100, peer sparse"), "sparse X @ dense B in NumPy"),
    ]  # fmt: skip
    lines = ["| what | here | beside | | |", "|---|---|---|---|---|"]
    for name, line, peer in rows:
        unit, met = line["unit"], {None: "", True: "", False: "below its target"}[line["met"]]
        figures = [f"{line[key]:.3g} {unit}" if line[key] < 1e3 else f"{line[key]:,.0f} {unit}"
                   for key in ("ours", "peer")]  # fmt: skip
        lines.append(f"| {name} | {figures[0]} | {figures[1]} | {peer} | {met} |")
    return "\n".join(lines)


def _rows_of(name: str) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in result(name)["rows"]}


def _starting(rows: dict[str, dict[str, Any]], start: str) -> dict[str, Any]:
    """Return the first row whose name starts so."""
    return next(line for name, line in rows.items() if name.startswith(start))


def suites() -> str:
    """Format the table of the result ``tests``."""
    document = result("tests")
    lines = [_measured(document), "", "| command | passed | minutes |", "|---|---|---|"]
    for command, found in document["suites"].items():
        cells = [f"`{command}`", f"{found['passed']:,}", f"{found['seconds'] / 60:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(["", document["note"]] if "note" in document else [])])


def simulated() -> str:
    """Format the table of the result ``million``, all simulated but the rates that it calls measured."""
    document = result("million")
    sources = [document["rates"][device]["source"] for device in ("cpu", "cuda")]
    lines = [f"Simulated on {document['date'][:10]}, not measured. CPU workers: {sources[0]}. GPU workers: "
             f"{sources[1]}.", "", "| what | simulated | beside | ratio |", "|---|---|---|---|"]  # fmt: skip
    for line in document["rows"]:
        peer, ratio = ("" if line[key] is None else f"{line[key]:.3g}" for key in ("peer", "ratio"))
        lines.append(f"| {line['name']} | {line['ours']:.3g} {line['unit']} | {peer} | {ratio} |")
    return "\n".join(lines)


def gpu_parts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parts of a result of bench-gpu, each with its device, machine and date.

    Results of before had these once, for all parts.
    """
    whole = {key: document[key] for key in ("device", "date", "machine") if key in document}
    return {
        name: part if isinstance(part, dict) else {**whole, "rows": part}
        for name, part in document["parts"].items()
    }


def one_gpu() -> str:
    """Format the result ``gpu`` as a table for each part, under the device that it was measured on."""
    tables = [
        "\n".join([f"**{name}**, {part['device']}. {_measured(part)}", "", *_table(part["rows"])])
        for name, part in gpu_parts(result("gpu")).items()
    ]
    return "\n\n".join(tables)


TABLES: dict[str, Callable[[], str]] = {
    "main": main_job,
    "headline": headline,
    "short": short,
    "tests": suites,
    "million": simulated,
    "gpu": one_gpu,
    **accuracy_tables(result),
}


def table(name: str) -> str | None:
    """Return the table of a mark in the page; None while a result that it needs is not there."""
    try:
        return TABLES[name]() if name in TABLES else markdown(name)
    except FileNotFoundError:
        return None


def stale(text: str) -> list[str]:
    """List the marked tables that are not those of the results; one without a result is not listed."""
    return [m[2] for m in _BLOCK.finditer(text) if (found := table(m[2])) is not None and found != m[3]]


def renewed(text: str) -> str:
    """Return the text with the tables of the results between its marks."""
    return _BLOCK.sub(lambda m: f"{m[1]}{(table(m[2]) or m[3]).strip()}\n<!-- end -->", text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="results to print, main or tests")
    parser.add_argument("--write", action="store_true", help="put the tables into the pages")
    parser.add_argument("--check", action="store_true", help="end with 1 when a table of a page differs")
    given = parser.parse_args()
    for name in given.names:
        print(table(name) or f"{name} is not measured")
    if given.write:
        for page in PAGES:
            page.write_text(renewed(page.read_text()))
    if given.check:
        found = [differs(page) for page in PAGES]
        raise SystemExit(any(found))


def differs(page: Path) -> bool:
    """Print which tables of a page are not measured and which are not those of the results; tell of these."""
    text, where = page.read_text(), page.relative_to(README.parent)
    for name in (m[2] for m in _BLOCK.finditer(text) if table(m[2]) is None):
        print(f"the table {name} of {where} has no result yet; {MEASURED_BY[page.name]} measures it")
    names = stale(text)
    for name in names:
        print(f"the table {name} of {where} is not that of its result; run benchmarks/report.py --write")
    return bool(names)


if __name__ == "__main__":
    main()
