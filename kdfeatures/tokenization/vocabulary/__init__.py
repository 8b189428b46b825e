"""A tokenizer and a model with the word pieces that certain texts use, and no others."""

from kdfeatures.tokenization.vocabulary.cut_tables import cut_tables as cut_tables
from kdfeatures.tokenization.vocabulary.cut_tokenizer import cut_tokenizer as cut_tokenizer
from kdfeatures.tokenization.vocabulary.used_pieces import used_pieces as used_pieces
