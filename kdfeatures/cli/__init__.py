"""The command line: one file a command, help, and errors as one line.

Nothing imports this package.
"""
