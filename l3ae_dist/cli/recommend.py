"""``l3ae-dist recommend``: recommendations on the screen, or for millions of users in a file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.ids import call_with_ids
from l3ae_dist.cli.options import AsJson, Count, ModelOption, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, show_records, tell
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from l3ae_dist.data.dataset import Dataset
    from l3ae_dist.data.intake.ids import IdForm
    from l3ae_dist.model.fitted import FittedModel

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Request:
    """For whom to recommend, what, and where to."""

    users: Annotated[
        list[str] | None, typer.Argument(metavar="[USER]...", help="User ids.", show_default=False)
    ] = None
    n: Count = 20
    include_liked: Annotated[bool, typer.Option(help="Also recommend what the user has.")] = False
    output: Annotated[str | None, typer.Option(help="File or URL to write instead.")] = None
    format: Annotated[
        str | None, typer.Option(help="Form of the file: parquet, csv or jsonl; else that of its name.")
    ] = None
    everyone: Annotated[bool, typer.Option("--all", help="All known users; needs --output.")] = False
    histories: Annotated[str | None, typer.Option(help="Table user_id, item_id(, weight): fold-in.")] = None
    allow: Annotated[str | None, typer.Option(help="Table item_id(, user_id): of these items only.")] = None
    block: Annotated[str | None, typer.Option(help="Table item_id(, user_id): none of these.")] = None
    reasons: Annotated[int, typer.Option(min=0, help="History items that contribute most, per row.")] = 0
    on_unknown: Annotated[
        str, typer.Option(help="Users who are not known: raise, skip, or popular items.")
    ] = "raise"
    memory_budget: Annotated[str, typer.Option(help="Bytes to hold at once.")] = "2GiB"


@dataclass(frozen=True, slots=True)
class Written:
    """A file of recommendations, as the command reports it."""

    output: str
    users: int
    rows: int
    seconds: float
    users_per_second: float


@command
def recommend(
    workspace: WorkspaceArgument, request: Request, model: ModelOption = None, as_json: AsJson = False
) -> None:
    """Recommend items to users: print them, or write a file and report users per second."""
    from l3ae_dist.model.fitted import load_model

    with output_to_stderr():
        opened = load_model(workspace, model, memory_budget=request.memory_budget)
        answer = (
            _recommended(opened, request)
            if request.output is None
            else _write(opened, request, request.output)
        )
    if not isinstance(answer, Written):
        show_records(answer.to_dict("records"), "recommendations", as_json)
    elif as_json:
        from dataclasses import asdict

        print_json(asdict(answer))
    else:
        tell(
            f"{answer.rows:,} rows for {answer.users:,} users in {answer.seconds:.1f} s "
            f"({answer.users_per_second:,.0f} users per second): {answer.output}"
        )


def _recommended(model: "FittedModel", request: Request) -> "pd.DataFrame":
    if request.everyone:
        raise ConfigError("--all writes a file; name it with --output.")
    return _call(model, model.recommend, request)


def _write(model: "FittedModel", request: Request, output: str) -> Written:
    """Write one table for each batch of users; the file appears when it is complete."""
    from l3ae_dist.cli.lists_file import ListsFile, format_of
    from l3ae_dist.pipeline.copies_elsewhere import note_copy

    reasons = request.reasons > 0
    kind = format_of(output, request.format, reasons=reasons)
    for given in (request.histories, request.allow, request.block):
        if given is not None and Path(given).resolve() == Path(output).resolve():
            raise ConfigError(f"{output} is read and written; name another file with --output.")
    started = time.perf_counter()
    batches: Iterator[pd.DataFrame] = _call(model, model.recommend_batches, request)
    rows = users = 0
    note_copy(model.workspace, model.document, "recommendations", output)  # before it is there
    with ListsFile.open(model, output, kind, reasons=reasons) as file:
        for frame in batches:
            file.write(frame)
            rows += len(frame)
            users += frame["user_id"].nunique()
    seconds = time.perf_counter() - started
    return Written(output, users, rows, round(seconds, 3), round(users / max(seconds, 1e-9), 1))


def _call(model: "FittedModel", call: Callable[..., R], request: Request) -> R:
    """Call with the users, the histories or everyone, whichever of the three is given."""
    options: dict[str, Any] = {
        "n": request.n,
        "filter_already_liked": not request.include_liked,
        "return_reasons": request.reasons,
        "on_unknown": request.on_unknown,
    }
    users = request.users or []
    if bool(users) + request.everyone + (request.histories is not None) != 1:
        raise ConfigError("name users, or give --all, or --histories FILE: one of the three.")
    tables = _read_tables(model.dataset, request)
    histories = tables.pop("histories", None)
    options |= tables
    if users:
        return call_with_ids(lambda ids: call(ids, **options), users)
    return call(histories, **options)


def _read_tables(dataset: "Dataset", request: Request) -> "dict[str, pd.DataFrame]":
    """Read the files of a request; items in the form of the workspace's, and so known users.

    The users of histories are new: their ids have one form in all files.
    """
    from l3ae_dist.data.intake.small_tables import form_of_ids, read_small

    paths = {"histories": request.histories, "items": request.allow, "filter_items": request.block}
    tables = {
        name: read_small(path, name, ("user_id", "item_id"), ("weight",))
        if name == "histories"
        else read_small(path, name, ("item_id", "user_id"))
        for name, path in paths.items()
        if path is not None
    }
    samples = {"item_id": dataset.item_ids(0, 1), "user_id": dataset.user_ids(0, 1)}
    forms: dict[str, IdForm] = {
        name: "text" if ids.dtype == object else "integer" for name, ids in samples.items()
    }
    if request.histories is not None:
        forms["user_id"] = form_of_ids(tables.values(), "user_id")
    return {name: table.frame(forms) for name, table in tables.items()}
