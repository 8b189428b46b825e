"""What may stand in a word's place: TinyBERT's two sources (arXiv:1909.10351, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.data.augmentation.words import parts_of, pieces, whole_words
from kdfeatures.errors import UserError


class Substitutes(Protocol):
    """Gives the words that may replace others."""

    def __call__(self, text: str, positions: Sequence[int], count: int) -> list[list[str]]:
        """Return at most `count` words for each of the parts of `text` (see `parts_of`) at `positions`, best first."""


class EmbeddingNeighbours:
    """The words whose vectors have the largest cosine with a word's own.

    Unlike MaskedPredictions it does not look at the sentence, and gives opposites as readily as synonyms.
    """

    def __init__(
        self, words: Sequence[str], vectors: Tensor, unknown: Callable[[str], Tensor | None] | None = None
    ) -> None:
        """vectors: (words, D). unknown: gives the vector of a word that is not in `words`, or None."""
        self.words = list(words)
        self.rows = {word: row for row, word in enumerate(self.words)}
        self.vectors = F.normalize(vectors.float(), dim=-1)
        self.unknown = unknown
        self._neighbours: dict[tuple[str, int], list[str]] = {}

    @classmethod
    def of_model(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> EmbeddingNeighbours:
        """Neighbours among the whole words of the vocabulary, by the model's own input embeddings.

        A word of several pieces is looked up by the mean of their embeddings.
        """
        embeddings: Any = model.get_input_embeddings()
        table: Tensor = embeddings.weight.detach().cpu()
        words = whole_words(tokenizer)
        if not words:
            raise UserError("the tokenizer has no tokens that are whole words, so none can be a neighbour.")

        def mean_of_pieces(word: str) -> Tensor | None:
            ids = pieces(word, tokenizer)
            return table[ids].mean(0) if ids and tokenizer.unk_token_id not in ids else None

        return cls(list(words), table[list(words.values())], mean_of_pieces)

    @classmethod
    def of_file(cls, path: str | Path, option: str) -> EmbeddingNeighbours:
        """Read word vectors in GloVe's text form: a word and its numbers a line, separated by spaces."""
        words, rows = [], []
        try:
            with Path(path).open(encoding="utf-8") as stream:
                for number, line in enumerate(stream, 1):
                    word, *values = line.rstrip().split(" ")
                    if number == 1 and len(values) == 1 and word.isdecimal() and values[0].isdecimal():
                        continue  # word2vec's text form begins with its size
                    rows.append([float(value) for value in values])
                    words.append(word)
                    if len(rows[-1]) != len(rows[0]):
                        raise ValueError(f"line {number} has {len(rows[-1])} numbers, the first one {len(rows[0])}")
        except (OSError, ValueError) as error:
            raise UserError(f"{option}={path} holds no word vectors in text form: {error}.") from error
        if not words:
            raise UserError(f"{option}={path} holds no word vectors: the file is empty.")
        return cls(words, torch.tensor(rows))

    def __call__(self, text: str, positions: Sequence[int], count: int) -> list[list[str]]:
        parts = parts_of(text)
        return [self.neighbours(parts[position], count) for position in positions]

    def neighbours(self, word: str, count: int) -> list[str]:
        """Return at most `count` words, without `word` itself; none for a word that has no vector."""
        key = word if word in self.rows else word.lower()
        if (key, count) not in self._neighbours:
            self._neighbours[key, count] = self._nearest(key, count)
        return self._neighbours[key, count]

    def _nearest(self, word: str, count: int) -> list[str]:
        vector: Tensor | None = None
        if word in self.rows:
            vector = self.vectors[self.rows[word]]
        elif self.unknown is not None:
            vector = self.unknown(word)
        if vector is None:
            return []
        # two more than asked for: the word itself, and the same word in another case
        best = (self.vectors @ F.normalize(vector.float(), dim=-1)).topk(min(count + 2, len(self.words))).indices
        words = [self.words[row] for row in best.tolist()]
        return [other for other in words if other.lower() != word.lower()][:count]


class MaskedPredictions:
    """What a masked language model puts in a word's place; for a word of several pieces, its embedding neighbours.

    Unlike EmbeddingNeighbours alone it fits the sentence.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        otherwise: EmbeddingNeighbours,
        *,
        max_length: int,
        batch_size: int = 64,
    ) -> None:
        """model: with a masked-language-model head. Raises UserError when the tokenizer has no mask token."""
        if tokenizer.mask_token is None:
            raise UserError("the tokenizer of the masked language model has no mask token; give another model.")
        self.model, self.tokenizer, self.otherwise = model.eval(), tokenizer, otherwise
        self.max_length, self.batch_size = max_length, batch_size
        words = whole_words(tokenizer)
        self.words = {i: word for word, i in words.items()}
        self.ids = torch.tensor(sorted(self.words))

    def __call__(self, text: str, positions: Sequence[int], count: int) -> list[list[str]]:
        parts = parts_of(text)
        single = [p for p in positions if len(pieces(parts[p], self.tokenizer)) == 1]
        predicted = dict(zip(single, self._predicted(parts, single, count), strict=True))
        return [predicted[p] if p in predicted else self.otherwise.neighbours(parts[p], count) for p in positions]

    @torch.no_grad()
    def _predicted(self, parts: list[str], positions: Sequence[int], count: int) -> list[list[str]]:
        predictions: list[list[str]] = []
        device = next(self.model.parameters()).device
        for start in range(0, len(positions), self.batch_size):
            chunk = positions[start : start + self.batch_size]
            masked = ["".join([*parts[:p], self.tokenizer.mask_token, *parts[p + 1 :]]) for p in chunk]
            batch = self.tokenizer(
                masked, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
            ).to(device)
            logits = self.model(**batch).logits[:, :, self.ids.to(device)]  # (B, L, whole words)
            for row, position in enumerate(chunk):
                (at,) = (batch["input_ids"][row] == self.tokenizer.mask_token_id).nonzero(as_tuple=True)
                if not len(at):  # cut off behind max_length, so no model will see it
                    predictions.append([])
                    continue
                best = logits[row, at[0]].topk(min(count + 2, len(self.ids))).indices.tolist()
                words = [self.words[int(self.ids[i])] for i in best]
                predictions.append([word for word in words if word.lower() != parts[position].lower()][:count])
        return predictions
