"""Strong and weak scaling as a picture, beside the ideal."""

from collections.abc import Mapping
from pathlib import Path

COLOURS = ("#0072b2", "#999999")


def plot_scaling(
    path: Path, strong: Mapping[int, float], weak: Mapping[int, float], titles: tuple[str, str], threads: int
) -> None:
    """Draw the speed-up at one size and the efficiency at equal work for each worker, beside the ideal.

    Parameters
    ----------
    path
        Where to write, a ``.png`` or ``.svg``.
    strong
        Seconds at one size, by number of workers; the smallest number is what the others are compared with.
    weak
        Seconds for each worker's equal share of work, by number of workers.
    titles
        Of the two panels.
    threads
        Of each worker.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    workers = sorted(strong)
    speedup = [strong[workers[0]] / strong[w] for w in workers]
    ideal = [w / workers[0] for w in workers]
    unit = f"workers of {threads} thread{'s' * (threads > 1)}"
    left.plot(workers, ideal, "--", color=COLOURS[1], label="ideal")
    left.plot(workers, speedup, "o-", color=COLOURS[0], label="measured")
    left.set(xlabel=unit, ylabel=f"times faster than {workers[0]}", title=titles[0], ylim=(0, None))
    efficiency = [weak[min(weak)] / weak[w] for w in sorted(weak)]
    right.axhline(1, linestyle="--", color=COLOURS[1], label="ideal")
    right.plot(sorted(weak), efficiency, "o-", color=COLOURS[0], label="measured")
    right.set(xlabel=unit, ylabel="efficiency", title=titles[1], ylim=(0, 1.1))
    for axis, values, names in ((left, speedup, workers), (right, efficiency, sorted(weak))):
        axis.set_xticks(names)
        axis.legend(frameon=False, loc="lower right")
        for x, y in zip(names, values, strict=True):
            axis.annotate(f"{y:.2f}", (x, y), textcoords="offset points", xytext=(0, -14), ha="center")
    figure.savefig(path, dpi=110)
    plt.close(figure)
