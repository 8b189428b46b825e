"""What the world sees of a run: its model card, where its model comes from, and the upload to the Hub.

Imports what kdfeatures.runs may import, and that package itself.
"""
