"""How good a model is: held-out ranks, metrics over users, comparisons."""
