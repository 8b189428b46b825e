"""A WordPiece tokenizer in BERT's form for the embedded tasks, built in memory from the grammar's words.

A word is one token, but for the -s of plural nouns and of verbs: "boys" is "boy", "##s" and "sees" is "see", "##s".
Number is then one token that all words share, so that random weights leave chance level sooner than with whole words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdfeatures.data.synthetic import agreement, entailment, lexicon

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # [PAD] is 0, as in BERT


def vocabulary() -> tuple[str, ...]:
    """Return every token that the grammars need: "##s" and the sorted words, without the forms that end in -s."""
    words = {noun.singular for noun in lexicon.PEOPLE}
    for verb in lexicon.TRANSITIVE + lexicon.INTRANSITIVE:
        words |= {verb.plural, verb.past, verb.participle}
    words |= {*lexicon.ADJECTIVES, *lexicon.PREPOSITIONS, *agreement.FUNCTION_WORDS}
    words |= {*entailment.NOUNS, *entailment.FUNCTION_WORDS, *entailment.VERBS}
    words |= {form for past, participle, _ in entailment.VERBS.values() for form in (past, participle)}
    return ("##s", *sorted(words))


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer: lower case, `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, token_type_ids."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate((*SPECIAL, *vocabulary()))}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", continuing_subword_prefix="##"))
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
