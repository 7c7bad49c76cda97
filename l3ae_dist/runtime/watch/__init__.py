"""Shows a run while it goes on: progress on a terminal, the dashboard's page, the live view."""
