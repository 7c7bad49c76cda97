"""The report of a run: one HTML file with everything inside, made from the workspace alone.

:func:`write_report` writes it, :func:`compare_runs` sets two runs side by side.
"""





__all__ = [
    "RunRecord",
    "compare_page",
    "compare_runs",
    "find_run",
    "read_run",
    "report_key",
    "report_page",
    "write_report",
]
