"""What makes one vector of a text's tokens, and the folders in which sentence-transformers keeps it.

Imports nothing of kdfeatures but errors and files.
"""
