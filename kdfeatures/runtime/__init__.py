"""How torch computes: with how many threads, and with linear layers in int8."""
