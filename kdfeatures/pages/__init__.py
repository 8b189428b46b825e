"""HTML pages that need no other file and no network: what all share, sortable tables, intervals and curves.

Knows nothing of what they show. Texts of others become HTML in `html_text` alone.
"""
