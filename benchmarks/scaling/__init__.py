"""Strong and weak scaling: measured, profiled, plotted."""
