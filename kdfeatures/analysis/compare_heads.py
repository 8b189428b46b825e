"""All heads of chosen layers of two models, compared over text: matched on one half of it, reported on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.analysis.batches import PairBatch, batches_of, pair_of
from kdfeatures.analysis.head_matching import HeadMatching, match_heads
from kdfeatures.analysis.head_similarity import HeadSimilarity, changed, shuffled
from kdfeatures.capture.context import eval_pass
from kdfeatures.capture.families import encoder_of
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.models.batches import Batch, to_device


class HeadComparison(NamedTuple):
    """The heads of one pair of layers by one measure; matrices are (H_s, H_t), float64.

    matching     fitted to `fitted`, the similarity on one half of the texts
    similarity   on the other half, where no pair looks better because it was chosen
    null         on the other half too, with the teacher reading another text of the batch: what positions and special
                 tokens alone give
    """

    matching: HeadMatching
    fitted: Tensor
    similarity: Tensor
    null: Tensor

    @property
    def matched(self) -> float:
        """The mean similarity of the matched pairs on the half that they were not fitted to."""
        return _mean(self.matching.on(self.similarity))

    @property
    def matched_null(self) -> float:
        """The same for other texts."""
        return _mean(self.matching.on(self.null))

    @property
    def any_pair(self) -> float:
        """The mean over all pairs of heads, which a random matching would have on average."""
        return self.similarity.mean().item()


@torch.no_grad()
def compare_heads(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Iterable[Batch | PairBatch] | Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    teacher_tokenizer: PreTrainedTokenizerBase | None = None,
    measures: Sequence[str] = ("divergence",),
    pairs: Iterable[tuple[int, int]] | None = None,
    batch_size: int = 8,
) -> dict[str, dict[LayerPair, HeadComparison]]:
    """Return for every measure and pair of layers how alike their heads are, and which belong together.

        heads = compare_heads(student, teacher, texts, tokenizer, pairs=[(1, 2), (3, 6)])
        heads["divergence"][3, 6].matching.pairs     # (student head, teacher head), from 0

    Every other batch, from the first, is for fitting. One pass of each model in eval mode. Depths, widths and head
    counts may differ.

    Args:
        student, teacher: encoders.
        texts, tokenizer, teacher_tokenizer, batch_size: as for compare_layers.
        measures: of kdfeatures.analysis.head_similarity.MEASURES.
        pairs: (student layer, teacher layer), from 1; None compares all layers with all.

    Raises:
        UserError: for fewer than two batches, unknown measures, layers that do not exist, and where a measure cannot
            see a model's scores.

    >>> from transformers import BertConfig, BertModel
    >>> from kdfeatures.data.synthetic import tokenizer
    >>> sizes = {"vocab_size": 80, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> student, teacher = (BertModel(BertConfig(num_hidden_layers=n, **sizes)) for n in (2, 4))
    >>> texts = ["the dog slept", "a cat that slept ran", "dogs ran", "the cat saw a dog"]
    >>> heads = compare_heads(student, teacher, texts, tokenizer(), pairs=[(1, 2)])
    >>> heads["divergence"][1, 2].similarity.shape  # heads of student layer 1 and teacher layer 2
    torch.Size([2, 2])
    """
    batches = batches_of(texts, tokenizer, batch_size=batch_size, teacher_tokenizer=teacher_tokenizer)
    depths = [len(encoder_of(model).layers) for model in (student, teacher)]
    chosen = [LayerPair(*pair) for pair in (product(*(range(1, n + 1) for n in depths)) if pairs is None else pairs)]
    layers_s, layers_t = ({pair[side] for pair in chosen} for side in (0, 1))
    keys = list(product(measures, chosen))
    parts = {part: {key: HeadSimilarity(key[0]) for key in keys} for part in ("fitted", "similarity", "null")}
    with (
        eval_pass(student, attention=sorted(layers_s)) as see_student,
        eval_pass(teacher, attention=sorted(layers_t)) as see_teacher,
    ):
        count = 0
        for count, batch in enumerate(batches, 1):
            both = pair_of(batch)
            real = both.real.cpu()
            if both.groups is not None and "correlation" in measures:
                raise UserError(
                    "the measure correlation compares scores before the softmax, which groups of tokens of two "
                    "tokenizers have not; choose divergence or cka."
                )
            seen_s = _on_cpu(see_student(to_device(both.student, student)).attention)
            seen_t = _on_cpu(see_teacher(to_device(both.teacher, teacher)).attention)
            attention_s = {layer: both.attention(states, "student") for layer, states in seen_s.items()}
            attention_t = {layer: both.attention(states, "teacher") for layer, states in seen_t.items()}
            others = {layer: shuffled(states, real) for layer, states in attention_t.items()}
            for measure, pair in keys:
                states_s, states_t = attention_s[pair.student], attention_t[pair.teacher]
                if count % 2:
                    parts["fitted"][measure, pair].update(states_s, states_t, real)
                    continue
                parts["similarity"][measure, pair].update(states_s, states_t, real)
                unrelated, mask = others[pair.teacher]
                parts["null"][measure, pair].update(states_s, unrelated, real & mask)
    if count < 2:
        raise UserError(f"heads are matched on some batches and reported on others, but there is {count}; give more.")
    return {measure: {pair: _comparison(parts, measure, pair) for pair in chosen} for measure in measures}


def _comparison(parts: dict[str, dict], measure: str, pair: LayerPair) -> HeadComparison:
    fitted, similarity, null = (parts[part][measure, pair].compute() for part in ("fitted", "similarity", "null"))
    return HeadComparison(match_heads(fitted), fitted, similarity, null)


def _on_cpu(attention: dict[int, AttentionStates]) -> dict[int, AttentionStates]:
    return {layer: changed(states, Tensor.cpu) for layer, states in attention.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
