"""A search for layer map, weights, stages and rate: trials on held-out training examples, then fresh seeds."""
