"""A word-level tokenizer in BERT's form for the embedded tasks, built in memory from the grammar's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdfeatures.embedded import agreement, entailment, lexicon

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # [PAD] is 0, as in BERT


def vocabulary() -> tuple[str, ...]:
    """Return every word that the grammars can say, sorted."""
    words = {word for noun in lexicon.PEOPLE for word in noun}
    words |= {form for verb in lexicon.TRANSITIVE + lexicon.INTRANSITIVE for form in verb}
    words |= {*lexicon.ADJECTIVES, *lexicon.PREPOSITIONS, *agreement.FUNCTION_WORDS}
    words |= {*entailment.NOUNS, *entailment.FUNCTION_WORDS, *entailment.VERBS}
    words |= {form for past, participle, _ in entailment.VERBS.values() for form in (past, participle)}
    return tuple(sorted(words))


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer: lower case, one token a word, `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, token_type_ids."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate((*SPECIAL, *vocabulary()))}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
