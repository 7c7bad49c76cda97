"""Tile kernels and the equations of the model on in-memory arrays; neither Dask nor Ray nor Zarr."""
