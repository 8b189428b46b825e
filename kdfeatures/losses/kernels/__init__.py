"""How losses are computed where memory or time is at stake: sums over token pairs without the L x L maps, and squared
distances without copies of the states.

Tensors in, tensors out; imports features and masking only.
"""
