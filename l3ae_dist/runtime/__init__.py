"""Clusters, the submission window, events, memory."""
