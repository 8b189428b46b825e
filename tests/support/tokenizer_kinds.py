"""Small tokenizers of the kinds that encoders have, trained on the words of the generated tasks."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "the dog that chased a cat slept", "Cats and dogs ran home, didn't they?", "a naïve café owner saw 3.5 horses",
    "no bird sang", "the unbelievable horses were running quickly", "she said “hello” — and left", "Ελλάδα is far",
    "a", "an owner of horses", "unhappily, the smaller birds slept; all the others sang",
]  # fmt: skip
BERT_LIKE = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_LIKE = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
KINDS = ("wordpiece uncased", "wordpiece cased", "byte-bpe", "unigram")


@cache
def tokenizer_of(kind: str, size: int = 120) -> PreTrainedTokenizerFast:
    """Return a tokenizer of a kind, with about `size` pieces; 0 trains as many as there are."""
    special = BERT_LIKE if kind.startswith("wordpiece") else ROBERTA_LIKE
    tokens = list(special.values())
    if kind.startswith("wordpiece"):
        made = Tokenizer(models.WordPiece(unk_token=special["unk"]))
        made.normalizer = normalizers.BertNormalizer(lowercase=kind.endswith("uncased"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=tokens, show_progress=False)
    elif kind == "byte-bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size + 256, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=size, special_tokens=tokens, unk_token=special["unk"], show_progress=False
        )
    made.train_from_iterator(TEXTS * 3, trainer)
    cls, sep = ((special[name], made.token_to_id(special[name])) for name in ("cls", "sep"))
    if special is BERT_LIKE:
        made.post_processor = processors.BertProcessing(sep, cls)
    else:
        made.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=kind == "byte-bpe")
    names = {f"{name}_token": token for name, token in special.items()}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names)
