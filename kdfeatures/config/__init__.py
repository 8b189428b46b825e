"""The border: Hydra's config becomes objects of the packages below, wrong options become one line.

Only this package, benchmark and cli know omegaconf and hydra.
"""
