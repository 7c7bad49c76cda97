"""The report of a run: one HTML file with everything inside, made from the workspace alone.

:func:`write_report` writes it; :func:`compare_runs` and :func:`compare_page` set two runs side by side, which
:func:`open_runs` finds.
"""

from l3ae_dist.report.compare import compare_page, compare_runs, open_runs
from l3ae_dist.report.write import write_report

__all__ = ["compare_page", "compare_runs", "open_runs", "write_report"]
