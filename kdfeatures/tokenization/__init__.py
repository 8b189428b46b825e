"""Examples as student and teacher read them where their tokenizers differ: encoded, kept side by side, padded."""
