"""What a command does once its options are read: load, train, score, write.

Imports everything below; logs what it does, prints and parses nothing.
"""
