"""The recommender: sweep, cold start, export and serving. Run it with ``make bench-model``.

Needs the reference data (``L3AE_REFERENCE``, or a folder ``shared`` beside the repository).
"""

import model_cold
import model_serving
import model_sweep
from report import publish


def main() -> None:
    rows = []
    for part in (model_sweep, model_cold, model_serving):
        print(f"{part.__name__} ...", flush=True)
        rows += part.rows()
    publish("model", rows)


if __name__ == "__main__":
    main()
