"""What do losses over a vocabulary cost, forward and backward, beside the same on logits that are made as a whole?

python -m benchmarks.vocabulary

A student's states (tokens, 384) and a teacher's (tokens, 768), each with its decoder over 30,522 pieces: soft answers
at T = 2, and beside them masked-language-model labels for 15% of the tokens. Memory is the peak above what the process
held before, over that of one float32 logit for each token and piece.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import append_rows, keep_freed_memory, peak_mebibytes, return_freed_memory, time_ratios
from kdfeatures.features import VocabularyLogits
from kdfeatures.losses import LogitKD, MaskedLanguageModel
from kdfeatures.losses.vocabulary import OutputTerm, vocabulary_loss

PIECES, WIDTH_S, WIDTH_T, MASKED = 30_522, 384, 768, 0.15
CASES = ((1024, False), (1024, True), (4096, True))  # tokens, and whether masked tokens are labels
ROUNDS, THREADS = 5, 2
TEMPERATURE = 2.0


def plain_soft(student: Tensor, teacher: Tensor) -> Tensor:
    log_s, log_t = ((logits / TEMPERATURE).log_softmax(-1) for logits in (student, teacher))
    return TEMPERATURE**2 * F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def variants(tokens: int, *, hard: bool) -> dict[str, Callable[[], list[Tensor]]]:
    """Functions that return the value and the gradients of the student's states and decoder."""
    torch.manual_seed(0)
    of_student, of_teacher = nn.Linear(WIDTH_S, PIECES), nn.Linear(WIDTH_T, PIECES).requires_grad_(False)
    states, its_states = torch.randn(tokens, WIDTH_S, requires_grad=True), torch.randn(tokens, WIDTH_T)
    labels = torch.where(torch.rand(tokens) < MASKED, torch.randint(PIECES, (tokens,)), -100)
    inputs = [states, of_student.weight, of_student.bias]
    soft, masked = LogitKD(temperature=TEMPERATURE), MaskedLanguageModel()

    def step(value: Tensor) -> list[Tensor]:
        return [value.detach(), *torch.autograd.grad(value, inputs)]

    def on_logits(compare: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        logits = of_student(states)
        value = compare(logits, of_teacher(its_states))
        return step(value + masked(logits, labels) if hard else value)

    def with_decoder() -> list[Tensor]:
        terms = [OutputTerm(soft, 1.0, VocabularyLogits(its_states, of_teacher.weight, of_teacher.bias))]
        terms += [OutputTerm(masked, 1.0, labels=labels)] if hard else []
        return step(vocabulary_loss(VocabularyLogits(states, of_student.weight, of_student.bias), terms)[0])

    return {
        "as a whole": lambda: on_logits(plain_soft),
        "logits as a whole, loss by blocks": lambda: on_logits(soft),
        "with the decoder": with_decoder,
    }


def main() -> None:
    return_freed_memory()
    torch.set_num_threads(1)  # a fork does not survive the threads of its parent
    cases = {(tokens, hard): variants(tokens, hard=hard) for tokens, hard in CASES}
    # before any pass has run here, whose freed memory would hide what the others need
    peaks = {key: {name: peak_mebibytes(run) for name, run in timed.items()} for key, timed in cases.items()}
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    rows = []
    for (tokens, hard), timed in cases.items():
        expected, *others = (run() for run in timed.values())
        for found in others:
            for one, other in zip(found, expected, strict=True):
                if not (one - other).norm() <= 1e-5 * other.norm():
                    raise RuntimeError("the variants differ in value or gradient")
        for name, (median, low, high) in time_ratios(timed, rounds=ROUNDS, warm_ups=1).items():
            peak = peaks[tokens, hard][name]
            rows.append(
                {"tokens": tokens, "terms": "soft + masked" if hard else "soft", "variant": name}
                | {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
                | {"memory_ratio": f"{peak * 2**20 / (4 * tokens * PIECES):.2f}", "peak_mib": f"{peak:.0f}"}
            )
    append_rows("vocabulary", rows)


if __name__ == "__main__":
    main()
