"""Runs task graphs: back ends, executors and the submission window; events, memory, and views of a run."""
