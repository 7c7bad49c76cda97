"""The report of a run: one HTML file with everything inside, made from the workspace alone.

:func:`write_report` writes it; :func:`compare_runs` and :func:`compare_page` set two runs side by side, which
:func:`open_runs` finds. :func:`write_card` writes a model card,
:func:`log_run` and :func:`autolog` write to MLflow.
"""

from l3ae_dist.report.compare import compare_page, compare_runs, open_runs
from l3ae_dist.report.mlflow_runs import autolog, log_export, log_run
from l3ae_dist.report.model_card import write_card
from l3ae_dist.report.write import write_report

__all__ = [
    "autolog",
    "compare_page",
    "compare_runs",
    "log_export",
    "log_run",
    "open_runs",
    "write_card",
    "write_report",
]
