"""The command ``l3ae-serve`` of the wheel that serves exports alone, without the rest of the package."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from l3ae_dist.errors import L3AEError
from l3ae_dist.messages import inline, paragraph
from l3ae_dist.serve.service import Place, serve_until_interrupted

# Exit status of a call that is refused, as that of ``l3ae-dist``.
_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve an export over HTTP until interrupted.

    Parameters
    ----------
    arguments
        Those of the command; the process's own when None.
    """
    given = vars(_parser().parse_args(arguments))
    place = Place(**{one.name: given[one.name] for one in fields(Place) if one.name in given})
    try:
        serve_until_interrupted(given["export"], place, _tell)
    except L3AEError as error:
        sys.stderr.write(f"error: {paragraph(str(error))}\n")
        raise SystemExit(_REFUSED) from None


def _parser() -> argparse.ArgumentParser:
    usual = Place()
    parser = argparse.ArgumentParser(
        prog="l3ae-serve",
        description="Serve recommendations over HTTP from an export; another export takes over by itself.",
    )
    parser.add_argument("export", help="folder that `l3ae-dist export` wrote, or a link to one")
    parser.add_argument("--host", default=usual.host, help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=int, default=usual.port, help="port; 0 for a free one (%(default)s)")
    parser.add_argument("--certificate", type=Path, help="PEM file, for https")
    parser.add_argument("--key", type=Path, help="PEM file of its key")
    parser.add_argument("--insecure", action="store_true", help="allow plain http off this machine")
    parser.add_argument(
        "--connections", type=int, default=usual.connections, help="connections at a time (%(default)s)"
    )
    return parser


def _tell(line: str) -> None:
    sys.stdout.write(inline(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
