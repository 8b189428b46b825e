"""Tokens of two tokenizers that cover the same characters, and features brought to them."""
