"""A grid of runs, arms x tasks x seeds, that goes on where it was: what `kdfeatures glue` runs and collects.

Imports pipelines and config; only cli is above.
"""
