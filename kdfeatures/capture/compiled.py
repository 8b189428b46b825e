"""Hooks on models that torch has compiled."""

from __future__ import annotations

import sys

import torch


def watch_hooks() -> None:
    """Let torch.compile look at hooks from now on: by default it does not, so hooks attached later would never fire.

    Done when hooks are attached, not on import, and only in a process that has compiled something or may do so. With
    the setting it compiles a model anew when its hooks have changed. What was compiled before without it would go on
    ignoring hooks, so it is dropped, once.
    """
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None or not dynamo.config.skip_nnmodule_hook_guards:
        return
    dynamo.config.skip_nnmodule_hook_guards = False
    if dynamo.utils.counters["frames"]:
        torch.compiler.reset()
