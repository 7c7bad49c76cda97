"""Files that start a cluster, filled from templates."""
