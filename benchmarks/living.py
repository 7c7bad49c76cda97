"""A model that lives: serving, exact updates, exact forgetting. ``make bench-living`` writes ``living.json``.

``--only NAME`` runs some of the parts and keeps the figures of the others.
"""

from typing import Any

import living_drift
import living_forget
import living_install
import living_serving
import living_update
from report import Part, run_parts


def serving() -> Part:
    details = dict[str, Any]()
    return living_serving.rows(details), details


def update() -> Part:
    details = dict[str, Any]()
    return living_update.rows(details), details


def forget() -> Part:
    details = dict[str, Any]()
    return living_forget.rows(details), details


def drift() -> Part:
    details = dict[str, Any]()
    return living_drift.rows(details), details


def install() -> Part:
    details = dict[str, Any]()
    return living_install.rows(details), details


if __name__ == "__main__":
    run_parts(
        "living",
        {"serving": serving, "update": update, "forget": forget, "drift": drift, "install": install},
        __doc__,
    )
