"""What a Python user calls for whole runs and comparisons; `import kdfeatures as kd` has all of it as kd.NAME.

Each function makes the settings that a command would have and calls its pipeline. Imports everything below; nothing
but kdfeatures/__init__ imports it.
"""
