"""The rates of a calibration as tables for people."""

from rich.console import Console

from l3ae_dist.cli.views.quantities import figure_table, say
from l3ae_dist.planning.rates import ASSUMED_PEER_BYTES_S, Rates
from l3ae_dist.units import human_bytes


def print_rates(console: Console, rates: Rates) -> None:
    """Print the figures of a calibration."""
    for dtype, kernels in rates.gflops.items():
        sizes = sorted(next(iter(kernels.values())))
        table = figure_table(
            f"GFLOP/s of a worker in {dtype}", "kernel", *(f"tiles of {size:,}" for size in sizes)
        )
        for name, found in kernels.items():
            table.add_row(name, *(f"{found[size]:,.1f}" for size in sizes))
        console.print(table)
    left = ", ".join(f"{share:.2f} at {size:,}" for size, share in rates.overlap.items())
    say(
        console,
        f"Left of it beside reading and writing: {left}",
        f"Storage: a worker reads {human_bytes(rates.read_bytes_s)}/s and writes "
        f"{human_bytes(rates.write_bytes_s)}/s, {rates.workers} together "
        f"{human_bytes(rates.shared_read_bytes_s)}/s and {human_bytes(rates.shared_write_bytes_s)}/s; "
        f"{1000 * rates.read_seconds:.2f} and {1000 * rates.write_seconds:.2f} ms before the first byte",
        f"Tasks: {1000 * rates.task_seconds:.1f} ms of the client each, "
        f"{1000 * rates.latency_seconds:.1f} ms on the way",
    )
    if rates.peer_bytes_s is None:
        say(
            console,
            "Peers: tiles between workers were not measured; plans assume "
            f"{human_bytes(ASSUMED_PEER_BYTES_S)}/s a worker",
        )
    else:
        say(
            console,
            f"Peers: a worker receives {human_bytes(rates.peer_bytes_s)}/s of tiles from others while it "
            f"sends as much ({human_bytes(ASSUMED_PEER_BYTES_S)}/s would be assumed)",
        )
    if rates.upload_bytes_s is not None and rates.download_bytes_s is not None:
        to, back = human_bytes(rates.upload_bytes_s), human_bytes(rates.download_bytes_s)
        say(console, f"Copies: {to}/s to the GPU, {back}/s back")
    if rates.texts_per_second is not None:
        say(console, f"Text: {rates.texts_per_second:,.0f} texts/s of one actor with {rates.encoder}")
    say(console, rates_sentence(rates))


def rates_sentence(rates: Rates) -> str:
    """Say where rates come from."""
    if rates.assumed:
        texts = f", {rates.texts_per_second:,.0f} texts/s of an actor" if rates.texts_per_second else ""
        return f"Rates are {rates.source}{texts}; `l3ae-dist calibrate` measures them."
    return f"Rates: {rates.source}, {rates.date}."
