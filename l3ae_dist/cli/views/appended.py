"""Sentences on what an appended log added."""

from l3ae_dist.cli.documents import Document


def append_sentence(report: Document) -> str:
    """Say in words what an appended log added."""
    if report["already"]:
        return "This log was appended before; nothing was done."
    return (
        f"Appended {report['interactions']:,} new interactions ({report['known']:,} were known, "
        f"{report['held_out']:,} are held out and stay so), {report['users']:,} new users and "
        f"{report['items']:,} new items; {report['gram_tiles_computed']:,} of {report['gram_tiles']:,} "
        "Gram tiles were computed."
    )
