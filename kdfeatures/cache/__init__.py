"""The teacher's features on disk, so that many epochs and many students cost one pass of the teacher.

    <path>/<key>/identity.json          what the features depend on besides the examples (kdfeatures.cache.key)
    <path>/<key>/<shard>/digests        which examples the shard holds: (examples, 16) bytes, a hash of their inputs
    <path>/<key>/<shard>/lengths        their tokens
    <path>/<key>/<shard>/logits         (examples, C), float32, in the teacher's own label order
    <path>/<key>/<shard>/token_logits   (tokens, C), likewise, of a teacher that gives them for tokens
    <path>/<key>/<shard>/decoder_states (tokens, D), what the teacher's decoder makes logits over a vocabulary of
    <path>/<key>/<shard>/hidden.3       (tokens, D), examples one after the other without padding
    <path>/<key>/<shard>/query.6        (tokens, H * d), likewise key.6 and value.6

A shard is some quantities of some examples. It appears whole, by renaming a finished folder, and never changes; further
layers or examples become further shards. Every file carries a checksum (kdfeatures.cache.arrays).
"""

from kdfeatures.cache.answers import kept_answers
from kdfeatures.cache.collator import CachedCollator, CachedTeachers, with_rows
from kdfeatures.cache.quantities import DECODER_STATES, LOGITS, Quantity, logits_for, needed
from kdfeatures.cache.reader import CachedFeatures
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.cache.store import FeatureCache

__all__ = [
    "DECODER_STATES",
    "LOGITS",
    "CacheSettings",
    "CachedCollator",
    "CachedFeatures",
    "CachedTeachers",
    "FeatureCache",
    "Quantity",
    "kept_answers",
    "logits_for",
    "needed",
    "with_rows",
]
