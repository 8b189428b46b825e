"""Scores of predictions and what their differences are worth: metrics, entities, bootstrap, timing.

Arrays and models in, numbers out; knows no run and no config.
"""
