"""A run's folder and what is written into it: results, card, plots; runs side by side.

Imports evaluation and models; starts no training.
"""
