"""``l3ae-dist check``: the data of a configuration, read as a run reads them."""

from l3ae_dist.cli.command import command
from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.options import AsJson, Settings, Target
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def check(
    config: Target,
    *,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    as_json: AsJson = False,
) -> None:
    """Read all data of a configuration, store nothing, and print what is in them."""
    from l3ae_dist.pipeline.check import check as check_data

    with output_to_stderr():
        found = check_data(build_config(config, settings))
    if as_json:
        print_json(found.document())
        return
    from l3ae_dist.cli.views.check import print_check

    print_check(screen(), found)
