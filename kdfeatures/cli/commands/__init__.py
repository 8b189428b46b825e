"""One file a command: parse, settings, pipeline, print. Imports everything below; nothing but cli.main imports it."""
