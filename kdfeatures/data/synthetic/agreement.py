"""Acceptability of one sentence: agreement, reflexives and negative polarity, in minimal pairs.

Every sentence holds several dependencies (a verb and its subject, a reflexive and its antecedent, "ever" and its
negation). The acceptable member of a pair keeps all of them; the other breaks exactly one. The rules are those of
English: a verb agrees with the head of its subject, not with the nearest noun; a reflexive takes the subject of its
own clause; "ever" needs a negation that stands above it, so "no" inside a relative clause does not help.
Both members of a pair use nearly the same words, so a count of words says nothing about the label.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from kdfeatures.data.synthetic.lexicon import (
    ADJECTIVES,
    FEMALE,
    INTRANSITIVE,
    MALE,
    PEOPLE,
    PREPOSITIONS,
    TRANSITIVE,
    Noun,
    Verb,
)

LABELS = ("unacceptable", "acceptable")
COLUMNS = ("sentence",)
REFLEXIVES = ("himself", "herself", "themselves")
DEPTHS = (0, 0, 1, 1, 2)  # modifiers inside one another; the plain sentences let a model find the rules
FUNCTION_WORDS = ("the", "no", "that", "is", "are", "has", "have", "ever", *REFLEXIVES)


class Head(NamedTuple):
    """A noun with its number, and where in the sentence its determiner stands."""

    noun: Noun
    plural: bool
    determiner: int


class Sentence:
    """Words in order, and the edits that each break one dependency: {position: word}."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.words: list[str] = []
        self.breaks: list[dict[int, str]] = []

    def say(self, *words: str) -> None:
        self.words += words

    def say_agreeing(self, head: Head, singular: str, plural: str) -> None:
        """Add the form that agrees with `head`, and note that the other form breaks the sentence."""
        self.breaks.append({len(self.words): singular if head.plural else plural})
        self.say(plural if head.plural else singular)

    def verb(self, head: Head, verb: Verb) -> None:
        self.say_agreeing(head, verb.singular, verb.plural)

    def noun_phrase(self, depth: int, plural: bool, nouns: tuple[Noun, ...] = PEOPLE, *, inside: bool = False) -> Head:
        """Add "the (old) noun" and, while `depth` lasts, a modifier with a noun; `inside`: in a modifier already."""
        noun = self.rng.choice(nouns)
        head = Head(noun, plural, len(self.words))
        self.say("the")
        if self.rng.random() < 0.25:
            self.say(self.rng.choice(ADJECTIVES))
        self.say(noun.plural if plural else noun.singular)
        if depth:
            self.modifier(head, depth, inside)
        return head

    def modifier(self, head: Head, depth: int, inside: bool) -> None:
        # more often than not the noun in between has the other number, so that the nearest noun misleads
        inner_plural = head.plural if self.rng.random() < 0.3 else not head.plural
        kind = self.rng.choice(("preposition", "subject relative", "object relative"))
        if kind == "preposition":
            self.say(self.rng.choice(PREPOSITIONS))
            self.noun_phrase(depth - 1, inner_plural, inside=True)
        elif kind == "subject relative":
            self.say("that")
            verb = self.rng.choice(TRANSITIVE)
            if inside:
                # past: "the boy near the girls that likes him" would be acceptable, with the boy as its subject
                self.say(verb.past)
            else:
                self.verb(head, verb)
            self.noun_phrase(depth - 1, inner_plural, inside=True)
        else:
            self.say("that")
            inner = self.noun_phrase(depth - 1, inner_plural, inside=True)
            self.verb(inner, self.rng.choice(TRANSITIVE))

    def agreement_clause(self, depth: int) -> None:
        """Add "the man near the girls sleeps | is old | sees the king"."""
        head = self.noun_phrase(depth, self.rng.random() < 0.5)
        kind = self.rng.choice(("intransitive", "copula", "transitive"))
        if kind == "intransitive":
            self.verb(head, self.rng.choice(INTRANSITIVE))
        elif kind == "copula":
            self.say_agreeing(head, "is", "are")
            self.say(self.rng.choice(ADJECTIVES))
        else:
            self.verb(head, self.rng.choice(TRANSITIVE))
            self.noun_phrase(0, self.rng.random() < 0.5)

    def reflexive_clause(self, depth: int) -> None:
        """Add "the man near the girls saw himself"; the past tense leaves the reflexive as the only cue."""
        # each reflexive is right a third of the time, whatever it is, so the word alone tells nothing
        right = self.rng.choice(REFLEXIVES)
        nouns = {"himself": MALE, "herself": FEMALE, "themselves": PEOPLE}[right]
        self.noun_phrase(depth, right == "themselves", nouns)
        self.say(self.rng.choice(TRANSITIVE).past)
        wrong = self.rng.choice([word for word in REFLEXIVES if word != right])
        self.breaks.append({len(self.words): wrong})
        self.say(right)

    def polarity_clause(self, depth: int) -> None:
        """Add "no man near the girls has ever slept"; moving "no" below the subject leaves "ever" unlicensed."""
        start = len(self.words)
        head = self.noun_phrase(depth, self.rng.random() < 0.5)
        inner = [place for place in range(start + 1, len(self.words)) if self.words[place] == "the"]
        self.words[head.determiner] = "no"
        self.breaks.append({head.determiner: "the", self.rng.choice(inner): "no"})
        self.say_agreeing(head, "has", "have")
        self.say("ever", self.rng.choice(INTRANSITIVE).participle)


def pair(rng: Random) -> list[tuple[tuple[str], int]]:
    """Return [((sentence,), label), ...]: an acceptable sentence, and the same with one dependency broken."""
    sentence = Sentence(rng)
    clause = rng.choice((sentence.agreement_clause, sentence.reflexive_clause, sentence.polarity_clause))
    clause(max(rng.choice(DEPTHS), clause == sentence.polarity_clause))
    broken = list(sentence.words)
    for place, word in rng.choice(sentence.breaks).items():
        broken[place] = word
    return [((" ".join(sentence.words),), 1), ((" ".join(broken),), 0)]
