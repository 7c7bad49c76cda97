"""Configuration: the sections of a run as validated models, and how they are read."""
