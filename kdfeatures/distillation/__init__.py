"""Terms x pairs x weights: the objective, and student, projections and objective as one module to train.

Imports capture, losses, mapping and alignment; knows no Trainer, no task, no files.
"""
