"""Serving a fitted model or an export over HTTP: what is asked, who answers, and the swap to a new model."""
