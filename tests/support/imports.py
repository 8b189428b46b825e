"""What imports load, as one new interpreter says that makes one after the other."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

IN_TURN = ("kdfeatures", "torch", "kdfeatures.mapping", "kdfeatures.losses")
SAYS = f"""
import importlib, json, sys
loaded = {{}}
for name in {IN_TURN}:
    importlib.import_module(name)
    loaded[name] = sorted(sys.modules)
print(json.dumps(loaded))
"""


@functools.cache
def loaded_after() -> dict[str, list[str]]:
    """Return the names of all modules that are loaded after each import of IN_TURN and those before it."""
    paths = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": paths}
    said = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True, env=environment)
    return json.loads(said.stdout)
