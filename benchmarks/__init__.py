"""Measurements: ratios taken side by side in one run, filed in benchmarks/results with device, versions and commit."""
