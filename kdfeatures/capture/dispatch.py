"""Attention modules that dispatch: a tap notes q, k, v on their way to the attention function.

transformers looks the attention function up by `module.config._attn_implementation` at call time. A tapped module gets
a copy of that config naming a function that notes q, k, v and passes the call on unchanged. The model's own config is
not touched, so masks stay as they were, all other layers keep their kernel, and outputs are bit-identical.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import AttentionInterface, PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates

# no "sdpa", "flash", "flex_attention" or "/" inside: transformers matches those as substrings
IMPLEMENTATION = "kdfeatures_capture"

MASKED_BY_TENSOR = ("eager", "sdpa")  # the others describe their masks otherwise, or hold none

AttentionModule = Any  # of transformers: they have a `config`, but no class in common
Keep = Callable[[AttentionStates], None]


class _Taps(list[Keep]):
    """Functions that want the attention operands of one module, and the implementation the module had before."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.config = config

    def __deepcopy__(self, memo: dict[int, Any]) -> _Taps:
        # a copied model must not write into the recorder of the original
        return _Taps(copy.deepcopy(self.config, memo))


class DispatchTap:
    """Notes what one attention module attends with; `keep` gets its AttentionStates. `remove()` as a hook handle's."""

    def __init__(self, module: AttentionModule, keep: Keep) -> None:
        self.module, self.keep = module, keep
        taps: _Taps | None = module.__dict__.get("_kdfeatures_taps")
        if taps is None:
            taps = module._kdfeatures_taps = _Taps(module.config)
            module.config = copy.copy(module.config)
            # the public setter would also rewrite sub-configs, which the copy shares with the model
            module.config._attn_implementation_internal = IMPLEMENTATION
        taps.append(keep)

    def remove(self) -> None:
        taps: _Taps = self.module._kdfeatures_taps
        taps.remove(self.keep)
        if not taps:
            self.module.config = taps.config
            del self.module._kdfeatures_taps


def check_implementation(module: AttentionModule) -> None:
    """Raise UserError when the module's attention function takes no mask tensor that could be noted."""
    implementation = module.config._attn_implementation
    if implementation not in (*MASKED_BY_TENSOR, IMPLEMENTATION):
        raise UserError(
            f"cannot capture attention under attn_implementation='{implementation}', which is not told by a mask "
            "tensor what to attend to; call model.set_attn_implementation('sdpa') first."
        )


def _tapped_attention(
    module: AttentionModule, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    taps: _Taps = module._kdfeatures_taps
    scale = kwargs.get("scaling")
    groups = query.shape[1] // key.shape[1]
    keys, values = (key, value) if groups == 1 else (x.repeat_interleave(groups, dim=1) for x in (key, value))
    states = AttentionStates(query, keys, values, query.shape[-1] ** -0.5 if scale is None else scale, attention_mask)
    for keep in taps:
        keep(states)
    eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    inner = ALL_ATTENTION_FUNCTIONS.get_interface(taps.config._attn_implementation, eager)
    return inner(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(IMPLEMENTATION, _tapped_attention)
