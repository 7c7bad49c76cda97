"""The model card of a run in Markdown, from its report: data, figures, certificate, limits."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.dataset_summary import data_lines
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.messages import shown, visible
from l3ae_dist.pipeline.named_models import read_model
from l3ae_dist.report import tables
from l3ae_dist.report.cautions import cautions
from l3ae_dist.report.formatting import iso_text, params_text
from l3ae_dist.report.run import RunRecord, find_run, read_run
from l3ae_dist.report.run_page import comparison_text
from l3ae_dist.report.write import note_report
from l3ae_dist.storage.output_files import OutputKind, check_output, write_output
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# Characters that Markdown or the HTML in it gives a meaning; control characters are shown before.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")
_HEAD = "---\nlibrary_name: l3ae_dist\n"
CARD = OutputKind("model card", b"---", b"library_name: l3ae_dist")
"""The file that a card is written to."""


def write_card(
    workspace: str | Path, output: str | Path, *, run: str | None = None, model: str | None = None
) -> str:
    """Write the model card of a run as a Markdown file, ready for a model hub, and return its path.

    Parameters
    ----------
    workspace
        Path or URL.
    output
        File to write; an earlier card there is replaced.
    run
        Id of the run or the beginning of it; that of the model when None.
    model
        Name of the model; the current one when None.

    Raises
    ------
    StageMissingError
        When the workspace holds no run.
    ConfigError
        For a run that fitted no model, for a run and a model both, or a file that is no card.
    """
    opened = Workspace.open(workspace)
    if run is not None and model is not None:
        raise ConfigError(f"name a run ({shown(run)}) or a model ({shown(model)}), not both.")
    record = read_run(opened, find_run(opened, read_model(opened, model).run if run is None else run))
    card = model_card(record).encode()
    check_output(output, CARD)
    note_report(record, str(output))
    return write_output(output, card, CARD)


def model_card(record: RunRecord) -> str:
    """Return the card of the model that a run fitted, as Markdown.

    Raises
    ------
    ConfigError
        For a run that fitted none.
    """
    if record.fitted is None:
        raise ConfigError(f"the run {record.run} fitted no model, so there is no card of it; name another.")
    sections = (_model, _figures, _data, _certificate, _limits, _use)
    return _HEAD + "".join(f"{line}\n" for section in sections for line in section(record))


def _text(value: object) -> str:
    """Neutralise a text of the user's for Markdown."""
    return _MARKUP.sub(r"\\\1", visible(str(value)).replace("\n", " "))


def _table(table: "tables.Table | None") -> Iterator[str]:
    """Yield a table with the words left and the figures right."""
    if table is None:
        return
    marks = [":---" if place < table.left else "---:" for place in range(len(table.headings))]
    yield from (_row(table.headings), _row(marks, plain=True), *map(_row, table.rows), "")


def _row(cells: Sequence[str], *, plain: bool = False) -> str:
    return f"| {' | '.join(cell if plain else _text(cell) for cell in cells)} |"


def _model(record: RunRecord) -> Iterator[str]:
    assert record.fitted is not None
    name, params = str(record.fitted["name"]), record.fitted.get("params") or {}
    yield from ("pipeline_tag: other", "tags:", "- recommender-system", "- linear-autoencoder", "---", "")
    yield from (f"# {_text(record.fitted.get('label') or name)}", "")
    yield f"{_text(name)} with {_text(params_text(params))}, an exact linear item-item recommender made by"
    made = _text(iso_text(record.result.finished))
    yield f"l3ae\\_dist {_text(record.versions.get('l3ae_dist', ''))} on {made}."
    yield ""


def _figures(record: RunRecord) -> Iterator[str]:
    result = record.result
    found = result.metric_figures()
    yield from ("## Figures", "")
    if not found:
        yield from ("The model was not evaluated.", "")
        return
    users = f"{result.users:,} users" if result.users else "the users"
    yield from (f"On the test split, of {users}, with intervals where they were made.", "")
    yield from _table(tables.metric_table(found))
    yield from (f"* {_text(comparison_text(one))}" for one in result.comparisons)
    yield ""


def _data(record: RunRecord) -> Iterator[str]:
    yield from ("## Data", "")
    stored = record.workspace.stage_done(Stage.INGEST, str(record.result.dataset.id))
    if stored is None:
        raise StageMissingError(f"the data of the run {record.run} are gone from {record.workspace.url}.")
    stats = replace(DatasetStats.of_record(stored.stats), notes=())  # these quote ids and names of files
    yield from (f"* {_text(line)}" for line in data_lines(stats))
    yield ""


def _certificate(record: RunRecord) -> Iterator[str]:
    yield from ("## How exactly it was solved", "")
    yield from _table(tables.certificate_table(record.result.certificate))


def _limits(record: RunRecord) -> Iterator[str]:
    yield from ("## Limits", "")
    yield from (f"* {_text(one)}" for one in cautions(record))
    yield "* Users are known by their interactions alone; one without any gets no recommendation."
    yield "* The figures are of held-out interactions of the same log. They say nothing about other data,"
    yield "  later times, or what users would do if they were shown other items."
    yield "* Popular items are recommended more often, as in the data; head and tail items show by how much."
    yield ""


def _use(record: RunRecord) -> Iterator[str]:
    yield from ("## Use", "", "```python", "from l3ae_dist import load_model", "")
    yield from ('model = load_model("WORKSPACE")', "model.recommend([USER], n=20)", "```")
