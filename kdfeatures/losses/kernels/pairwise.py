"""Comparison of two relations over token pairs; the attention and relation losses are named uses of these two
functions.

They take the operands and never hold the (B, H, L, L) scores, forward or backward. A loss is one number, so the
gradients of the operands are known up to a factor a sequence as soon as its value is: both are computed together, and
backward only multiplies. Kept until then are gradients of the size of the student's operands, and nothing of the
teacher's.

Against float64, at 512 tokens: values are off by 1e-7 and gradients by 4e-7 of themselves with operands in float32,
bfloat16 or float16 (all are computed in float32), 1e-15 in float64, as with materialised scores. Where the student
comes as close to the teacher as 1e-3, the divergence and its gradient are off by 3e-4, again as with materialised
scores; the squared difference by 1e-7 and its gradient by 5e-8 (materialised: 5e-5).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdfeatures.errors import UserError
from kdfeatures.features import Relation
from kdfeatures.losses.kernels.batching import Gradients, Part, sum_parts
from kdfeatures.losses.kernels.blocks import add_blocks, divergence, squares
from kdfeatures.losses.kernels.gram_sums import add_squares, gram_pays
from kdfeatures.masking import mean_of_sums, real_tokens

GRAM_TOKENS = 512  # tokens of one part: fewer keep a CPU's threads waiting, more leave its cache
KERNEL_WIDTH = 128  # the widest head whose blocks fit into the shared memory of a GPU's processor


def relation_kl(
    student: Relation, teacher: Relation, mask: Tensor | None, *, allowed: tuple[Tensor | None, ...] = ()
) -> Tensor:
    """Mean over heads and rows of KL(softmax(scores_t) || softmax(scores_s)), then over sequences.

    MiniLM's equation (arXiv:2002.10957), its attention and value transfer alike, and MiniLMv2's
    (arXiv:2012.15828).

    student, teacher: equal B, H and L; head widths and scales may differ. mask: (B, L), True for real tokens,
    or None.
    allowed: boolean masks broadcastable to (B, H, L, L) or None; the softmax of both sides runs over the real
    keys that all of them keep, and a row without such a key is left out. Returns a scalar, differentiable once and by
    the student only. Raises UserError when B, H or L differ or the teacher's operands require gradients.
    """
    return _mean(student, teacher, mask, allowed, _divergence_sums)


def score_mse(
    student: Relation,
    teacher: Relation,
    mask: Tensor | None,
    *,
    allowed: tuple[Tensor | None, ...] = (),
    centered: bool = False,
) -> Tensor:
    """Squared difference of the scores, averaged over heads and query-key pairs, then over sequences.

    Arguments and errors as for `relation_kl`. Unlike it, this also counts a constant added to a row, which a softmax
    ignores; centered=True does not: it subtracts from each row of scores its mean over the keys that count.

    Where all pairs of real tokens count, and where it is less work, the sum is formed from d x d Gram matrices.
    """
    add = partial(_add_squares, centered=centered)
    return _mean(student, teacher, mask, allowed, partial(sum_parts, add=add, tokens=GRAM_TOKENS))


def _mean(
    student: Relation,
    teacher: Relation,
    mask: Tensor | None,
    allowed: tuple[Tensor | None, ...],
    sums: Callable[..., tuple[Tensor, Tensor]],
) -> Tensor:
    of_student, of_teacher = tuple(student.left.shape[:3]), tuple(teacher.left.shape[:3])
    if of_student != of_teacher:
        raise UserError(
            "relations are compared head by head on the same tokens, but (batch, heads, tokens) is "
            f"{of_student} for the student and {of_teacher} for the teacher."
        )
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in _operands(teacher)):
        raise UserError(
            "relations are differentiated by the student only, but the teacher's operands require gradients; run the "
            "teacher under torch.no_grad() or detach its operands."
        )
    totals, counts, gradients = _with_gradients(sums, student, teacher, real_tokens(mask, student.left), allowed)
    if gradients is not None:
        by_left, by_right, by_bias = gradients
        by_right_alone = None if by_right is by_left else by_right
        apply: Callable[..., Tensor] = _Differentiable.apply
        bias = None if by_bias is None else student.bias
        totals = apply(student.left, student.right, bias, totals, by_left, by_right_alone, by_bias)
    return mean_of_sums(totals, counts)


def _operands(relation: Relation) -> tuple[Tensor | None, ...]:
    return relation.left, relation.right, relation.bias


def _with_gradients(
    sums: Callable[..., tuple[Tensor, Tensor]],
    student: Relation,
    teacher: Relation,
    real: Tensor,
    allowed: tuple[Tensor | None, ...],
) -> tuple[Tensor, Tensor, Gradients | None]:
    """As `_compute`, which torch.compile leaves as it is."""
    # not a decorator: torch.compiler.disable imports torch._dynamo, which takes seconds that nothing else here needs
    compute = _uncompiled() if torch.compiler.is_compiling() else _compute
    return compute(sums, student, teacher, real, allowed)


_uncompiled_compute: Callable[..., tuple[Tensor, Tensor, Gradients | None]] | None = None


def _uncompiled() -> Callable[..., tuple[Tensor, Tensor, Gradients | None]]:
    global _uncompiled_compute  # not functools.cache: torch.compile warns of it
    if _uncompiled_compute is None:
        _uncompiled_compute = torch.compiler.disable(_compute)
    return _uncompiled_compute


def _compute(
    sums: Callable[..., tuple[Tensor, Tensor]],
    student: Relation,
    teacher: Relation,
    real: Tensor,
    allowed: tuple[Tensor | None, ...],
) -> tuple[Tensor, Tensor, Gradients | None]:
    """Return what each sequence sums up to, the number of values in it, (B,), and the gradients, None if not needed."""
    gradients = None
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in _operands(student)):
        left = torch.zeros_like(student.left, dtype=torch.promote_types(student.left.dtype, torch.float32))
        bias = None
        if student.bias is not None and student.bias.requires_grad:
            bias = left.new_zeros(len(left), *student.bias.shape[1:])
        gradients = Gradients(left, left if student.right is student.left else torch.zeros_like(left), bias)
    # autocast would run the matmuls in half precision although their operands are float32
    with torch.no_grad(), torch.autocast(real.device.type, enabled=False):
        return *sums(student, teacher, real, allowed, gradients), gradients


class _Differentiable(torch.autograd.Function):
    """Sums (B,) whose derivatives by the student's operands are given; sequence b depends on its own operands only.

    But for a bias that all sequences share, (1, H, L, L), whose derivatives `by_bias` holds by sequence. by_right is
    None where `by_left` holds both operands' share.
    """

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        bias: Tensor | None,
        totals: Tensor,
        by_left: Tensor,
        by_right: Tensor | None,
        by_bias: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(by_left, by_right, by_bias)
        ctx.dtypes = left.dtype, right.dtype, None if bias is None else bias.dtype
        ctx.shares_bias = bias is not None and len(bias) == 1
        return totals.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_operands = [
            None if by is None or not needed else (by * gradient[:, None, None, None]).to(dtype)
            for by, needed, dtype in zip(ctx.saved_tensors, ctx.needs_input_grad, ctx.dtypes, strict=False)
        ]
        if ctx.shares_bias and by_operands[2] is not None:
            by_operands[2] = by_operands[2].sum(0, keepdim=True)
        return *by_operands, None, None, None, None


def _divergence_sums(
    student: Relation,
    teacher: Relation,
    real: Tensor,
    allowed: tuple[Tensor | None, ...],
    gradients: Gradients | None,
) -> tuple[Tensor, Tensor]:
    has_bias = student.bias is not None or teacher.bias is not None
    if not has_bias and _kernel_fits(student.left, teacher.left):
        from kdfeatures.losses.kernels.triton import divergence_sums

        return divergence_sums(student, teacher, real, allowed, gradients)
    return sum_parts(student, teacher, real, allowed, gradients, add=partial(add_blocks, compare=divergence), tokens=0)


def _kernel_fits(*operands: Tensor) -> bool:
    """True where `relation_triton` runs: on CUDA, with triton there, up to float32 and its widest head."""
    return (
        all(x.is_cuda and x.dtype != torch.float64 and x.shape[-1] <= KERNEL_WIDTH for x in operands)
        and find_spec("triton") is not None
    )


def _add_squares(part: Part, gradients: Gradients | None, *, centered: bool) -> tuple[Tensor, Tensor]:
    widths = part.left_s.shape[-1], part.left_t.shape[-1]
    has_bias = part.bias_s is not None or part.bias_t is not None
    if not part.allowed and not has_bias and gram_pays(part.length, *widths):
        return add_squares(part, gradients, centered)
    return add_blocks(part, gradients, partial(squares, centered=centered))
