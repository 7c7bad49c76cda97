"""What shows a run while it goes on: progress, the dashboard page, the live view."""
