"""What do losses over token pairs cost, forward and backward, beside the same with all scores materialised?

python -m benchmarks.relations
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import append_rows, peak_mebibytes, time_ratios
from kdfeatures.features import AttentionStates
from kdfeatures.losses import AttentionKL, AttentionLoss, AttentionScoreMSE, RelationKL

TOKENS, LENGTHS, ROUNDS = 2048, (64, 128, 512), 9
HEADS, WIDTH_S, WIDTH_T = 12, 192, 384  # of a 6 x 192 student and a 12 x 384 teacher


def naive_mse(student: AttentionStates, teacher: AttentionStates) -> Tensor:
    return F.mse_loss(*(x.query * x.scale @ x.key.mT for x in (student, teacher)))


def naive_centered_mse(student: AttentionStates, teacher: AttentionStates) -> Tensor:
    scores_s, scores_t = (x.query * x.scale @ x.key.mT for x in (student, teacher))
    return F.mse_loss(scores_s - scores_s.mean(-1, keepdim=True), scores_t - scores_t.mean(-1, keepdim=True))


def naive_kl(student: AttentionStates, teacher: AttentionStates) -> Tensor:
    log_s, log_t = ((x.query * x.scale @ x.key.mT).log_softmax(-1) for x in (student, teacher))
    return F.kl_div(log_s, log_t, reduction="sum", log_target=True) / log_s[..., 0].numel()


def naive_relations(heads: int) -> Callable[[AttentionStates, AttentionStates], Tensor]:
    def loss(student: AttentionStates, teacher: AttentionStates) -> Tensor:
        total = student.query.new_zeros(())
        for states in zip(student[:3], teacher[:3], strict=True):
            logs = []
            for x in states:
                x = x.transpose(1, 2).flatten(2).unflatten(2, (heads, -1)).transpose(1, 2)
                logs.append((x @ x.mT / x.shape[-1] ** 0.5).log_softmax(-1))
            total = total + F.kl_div(*logs, reduction="sum", log_target=True) / logs[0][..., 0].numel()
        return total

    return loss


LOSSES: dict[str, tuple[Callable, AttentionLoss]] = {
    "attention scores": (naive_mse, AttentionScoreMSE()),
    "attention scores, centred": (naive_centered_mse, AttentionScoreMSE(centered=True)),
    "attention kl": (naive_kl, AttentionKL()),
    "relations q k v, 12 heads": (naive_relations(12), RelationKL(relation_heads=12)),
    "relations q k v, 48 heads": (naive_relations(48), RelationKL(relation_heads=48)),
}


def operands(width: int, length: int) -> AttentionStates:
    # as captured: views of (B, L, H * d)
    states = (torch.randn(TOKENS // length, length, width).unflatten(2, (HEADS, -1)).transpose(1, 2) for _ in range(3))
    return AttentionStates(*states, scale=(width / HEADS) ** -0.5)


def variants(length: int, naive: Callable, loss: AttentionLoss) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """Two functions that return the value and the gradients of the student's operands."""
    torch.manual_seed(0)
    student, teacher = operands(WIDTH_S, length), operands(WIDTH_T, length)
    leaves = [x.requires_grad_() for x in student[:3]]
    mask = torch.ones(TOKENS // length, length, dtype=torch.bool)

    def step(value: Tensor) -> tuple[Tensor, ...]:
        return value.detach(), *torch.autograd.grad(value, leaves, allow_unused=True)

    return {
        "materialised": lambda: step(naive(student, teacher)),
        "kdfeatures": lambda: step(loss(student, teacher, mask)),
    }


def main() -> None:
    torch.set_num_threads(1)
    cases = {(length, name): variants(length, *pair) for length in LENGTHS for name, pair in LOSSES.items()}
    # before any pass has run here, whose freed memory would hide what the others need
    peaks = {case: {variant: peak_mebibytes(run) for variant, run in timed.items()} for case, timed in cases.items()}
    rows = []
    for (length, name), timed in cases.items():
        torch.testing.assert_close(*(run() for run in timed.values()), rtol=1e-4, atol=1e-8)
        for variant, (median, low, high) in time_ratios(timed, rounds=ROUNDS).items():
            rows.append(
                {"loss": name, "batch": TOKENS // length, "length": length, "variant": variant}
                | {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
                | {"peak_mib": f"{peaks[length, name][variant]:.0f}"}
            )
    append_rows("relations", rows)


if __name__ == "__main__":
    main()
