"""Quality of a model: held-out ranks, metrics over users, comparisons."""
