"""Where examples come from: the Hub, folders, files, text corpora, generated tasks, stored answers of a teacher.

Imports tasks; knows no models but those that augment text.
"""
