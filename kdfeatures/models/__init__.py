"""Teachers and students: loading, checking, cutting one from the other, costs, export.

Imports data and tasks for what a model must fit; knows no training.
"""
