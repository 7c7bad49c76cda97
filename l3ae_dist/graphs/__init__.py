"""The tasks of every stage, what they depend on and how a worker runs one; the terms of a score."""
