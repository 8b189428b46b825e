"""The tables of families in docs/capture.md, from code and differences measured now.

PYTHONPATH=tests python -m support.family_table
"""

from __future__ import annotations

import copy
from tempfile import TemporaryDirectory

import torch
from support.tiny import tiny_batch, tiny_config, undropped

from kdfeatures.capture.context import capture
from kdfeatures.capture.families import FAMILIES, REFUSED
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.export.onnx import export_onnx
from kdfeatures.models.pruning import PRUNABLE

HEADER = [
    "| family | hidden | q k v | probabilities | largest difference |",
    "|---|---|---|---|---|",
]
USES = [
    "| family | scores | students of fewer layers | other widths | in a cache | ONNX |",
    "|---|---|---|---|---|---|",
]
LENGTHS = (9, 5, 7)


def real_rows(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The rows of real queries: x (B, L, D) or (B, H, L, L). Where Funnel has pooled tokens, those that hold one."""
    real = mask.bool()
    while real.shape[1] > x.shape[-2]:
        real = torch.cat([real[:, :1], real[:, 1::2]], dim=1)[:, : x.shape[-2]]
    return x[real] if x.ndim == 3 else x.transpose(1, 2)[real]


@torch.no_grad()
def largest_difference(family: str) -> float:
    """Between captured and eager hidden states and probabilities of all layers, real positions of a padded batch."""
    torch.manual_seed(0)
    model, batch = undropped(family), tiny_batch(LENGTHS)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with capture(model, hidden=[0, 1, 2, "final"], attention=[1, 2, 3]) as features:
        model(**batch)
    expected = eager(**batch, output_hidden_states=True, output_attentions=True)
    pairs = [(features.hidden[n], expected.hidden_states[n]) for n in range(3)]
    pairs.append((features.hidden["final"], expected.hidden_states[3]))
    pairs += [(features.attention_probs(n), expected.attentions[n - 1]) for n in range(1, 4)]
    mask = batch["attention_mask"]
    return max((real_rows(a, mask) - real_rows(b, mask)).abs().max().item() for a, b in pairs)


def described(family: str) -> list[str]:
    """The cells that follow from the code."""
    row = FAMILIES[family]
    layers = "L shrinks" if family == "funnel" else "calls counted" if callable(row.layers) else "yes"
    if row.eager is None:
        return [family, layers, "at the attention function", "derived from q, k and mask"]
    return [family, layers, f"hooks on {', '.join(row.eager.names)}", "the model's own, before dropout"]


def uses(family: str) -> list[str]:
    """What can be done with a family, by its row and a small config."""
    row, config = FAMILIES[family], tiny_config(family)
    hidden = row.hides_scores(config)
    scores = f"no: {hidden}" if hidden else "with position terms" if row.positional(config) else "yes"
    uncuttable = row.uncuttable(config)
    cut = "any layers, the first stays" if row.first_stays else "any layers"
    cut = "its one layer, less often" if family == "albert" else cut
    widths = "pruned, pca, random" if family in PRUNABLE else "pca, random" if row.resizable else "no"
    cache = "hidden states, relations" if row.positional(config) else "all"
    cache = "no" if family == "funnel" else cache
    return [family, scores, f"no: {uncuttable}" if uncuttable else cut, widths, cache]


def exported(family: str) -> str:
    """Whether a small model comes out of the ONNX export with its logits."""
    torch.manual_seed(0)
    try:
        with TemporaryDirectory() as folder:
            export_onnx(undropped(family).eval(), tokenizer(), folder)
    except UserError:
        return "no"
    return "yes"


def refused() -> list[str]:
    return [f"| {name} | refused: {reason} | | | |" for name, reason in REFUSED.items()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(HEADER))
    for name in FAMILIES:
        print("| " + " | ".join([*described(name), f"{largest_difference(name):.1e}"]) + " |")
    print("\n".join([*refused(), "", *USES]))
    for name in FAMILIES:
        print("| " + " | ".join([*uses(name), exported(name)]) + " |")
