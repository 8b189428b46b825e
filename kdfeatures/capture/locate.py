"""Where the encoder is in a model, and submodules by their dotted path."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from kdfeatures.errors import ConfigError, nearest


def locate_module(model: nn.Module, path: str) -> nn.Module:
    """Return the submodule at a dotted path; raises ConfigError, with the nearest one, when there is none."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        known = [name for name, _ in model.named_modules() if name]
        raise ConfigError(
            f"{type(model).__name__} has no submodule '{path}'{nearest(path, known)}",
            hint="print(model) shows them",
        ) from None


def locate_encoder(model: nn.Module, encoder: str | None = None, argument: str = "encoder") -> PreTrainedModel:
    """Return the transformers model whose layers are captured: the one at the dotted path `encoder`, or `model` itself.

    argument: what the caller's caller knows `encoder` as. Raises ConfigError when it is none, and names the encoders
    inside a module of one's own.
    """
    module = model if encoder is None else locate_module(model, encoder)
    if isinstance(module, PreTrainedModel):
        return module
    inside = [name for name, part in module.named_modules() if name and isinstance(part, PreTrainedModel)]
    outermost = [name for name in inside if not any(name.startswith(f"{other}.") for other in inside)]
    where = f"name the encoder inside it, {' or '.join(f'{argument}={name!r}' for name in outermost)}"
    raise ConfigError(
        f"{type(module).__name__} is no transformers model, so its layers are not known",
        hint=where if inside else "capture submodules by their path, modules=[...]",
        key="capture.encoder",
        inside=tuple(outermost),
    )
