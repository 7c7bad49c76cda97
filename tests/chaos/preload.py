"""Imports what draws need, once, in the process that their processes are forked from."""

import obstore  # noqa: F401
import pandas  # noqa: F401
import typer.testing  # noqa: F401

import chaos.draws
import l3ae_dist.cli.app
import l3ae_dist.model.export
import l3ae_dist.model.fitted
import l3ae_dist.operations.garbage
import l3ae_dist.operations.verify
import l3ae_dist.pipeline.run
import l3ae_dist.report.write  # noqa: F401

chaos.draws.command("--version")  # builds the tree of commands
