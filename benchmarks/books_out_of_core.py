"""Out of core: 38,519 books (a dense float32 matrix of 5.9 GB) fitted and evaluated within 2 GiB per worker.

Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository). Run it with
``make bench-books``. The embeddings are MiniLM's, made by the embed stage, unless ``--embeddings`` names
an .npy file.
"""

import argparse
import shutil
import tempfile

from books_runs import books_config, data_folder, progress, run_rows
from report import publish

from l3ae_dist.pipeline.run import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with interactions.parquet and items.parquet")
    parser.add_argument("--embeddings", help="an .npy file instead of embedding the titles")
    parser.add_argument("--workspace", help="keep the workspace here")
    parser.add_argument("--budget", default="2GiB")
    arguments = parser.parse_args()
    folder = data_folder("amazon-books-2014-1m", "Amazon Books", arguments.data)
    workspace = arguments.workspace or tempfile.mkdtemp(prefix="l3ae-books-")
    data = {
        "interactions": str(folder / "interactions.parquet"),
        "items": str(folder / "items.parquet"),
        "embeddings": arguments.embeddings,
        "options": {"timestamp_column": "timestamp"},
    }
    result = run(books_config(workspace, data, memory_budget=arguments.budget), on_event=progress)
    if arguments.workspace is None:
        shutil.rmtree(workspace)
    publish(
        "books",
        run_rows(result, minutes=40),
        plan=result["plan"],
        stages=result["stages"],
        stage_seconds=result["stage_seconds"],
    )


if __name__ == "__main__":
    main()
