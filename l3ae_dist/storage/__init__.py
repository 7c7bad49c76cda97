"""The workspace: Zarr arrays, done-marks, fingerprints, lock."""
