"""What a run will take before it runs: rates of a cluster, estimates of every stage, and a simulator."""
