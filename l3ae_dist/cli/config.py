"""``l3ae-dist config``: the configuration as a run reads it, a first one, and its schema for editors."""

from pathlib import Path
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.options import AsJson, Settings, Target
from l3ae_dist.cli.output import print_json, tell
from l3ae_dist.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True, help="The configuration of a run: a first one, as it is read, its schema."
)

_FIRST = """\
# l3ae-dist check {name}    what is wrong with the data, before anything is computed
# l3ae-dist plan {name}     what it takes
# l3ae-dist run {name}      embed, fit, evaluate; the same command goes on where it was
workspace: ./workspace        # everything is kept here; a folder, or a URL of object storage

data:
  interactions: log.parquet   # user_id, item_id; perhaps weight and timestamp
  items: items.parquet        # item_id, text; perhaps title
  options:
    split: random             # of each user's interactions, for validation and test

model:
  name: l3ae                  # or another member of the family: docs/mathematics.md
  reg_x: -100                 # the ridge of the inverse is reg_x + reg_e
  reg_f: 5
  reg_e: 200

evaluate:
  metric: ndcg@20
  ks: [10, 20]

compute:
  memory_budget: 2GiB         # of each worker
  workers: 1
"""


@app.command()
@command
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = Path("config.yaml"),
) -> None:
    """Write a first configuration with comments; an existing file is left as it is."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_FIRST.format(name=path))
    except FileExistsError:
        raise ConfigError(f"{path} is there already; name another file, or take it away first.") from None
    tell(f"{path}: name your tables in it, then `l3ae-dist check {path}`.")


@app.command()
@command
def show(
    config: Target,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every value that a run would use: of the file, the environment, --set and the defaults."""
    import yaml

    values = build_config(config, settings).model_dump(mode="json", exclude_defaults=changed)
    if as_json:
        print_json(values)
    else:
        tell(*yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip("\n").split("\n"))


@app.command()
@command
def schema() -> None:
    """Print the JSON Schema of a configuration, with which editors complete and check it."""
    from l3ae_dist.config.run_config import RunConfig

    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema()})
