"""What the losses on attention and relations share: sums over token pairs without the L x L maps.

Tensors in, tensors out; imports features and masking only.
"""
