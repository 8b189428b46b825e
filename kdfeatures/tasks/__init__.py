"""What a task is: its columns, labels and metrics, and by kind its head, inputs and scores.

A kind is a file (sequence, token, masked_lm); imports evaluation, reads no files.
"""
