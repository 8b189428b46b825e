"""The Trainer and what it needs: arguments, batches of like length, calibration, checkpoints, FSDP.

Imports distillation, cache and models; knows no config and no command.
"""
