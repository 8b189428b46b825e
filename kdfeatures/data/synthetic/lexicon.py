"""The words of the embedded grammar: nouns with number and gender, verbs with their forms, the kinds above nouns."""

from __future__ import annotations

from typing import NamedTuple


class Noun(NamedTuple):
    """A noun; `reflexive` is the pronoun of its singular, the plural always takes "themselves"."""

    singular: str
    plural: str
    reflexive: str


class Verb(NamedTuple):
    """A verb: "he sees", "they see", "she saw", "it was seen"."""

    singular: str
    plural: str
    past: str
    participle: str


def _nouns(words: str, reflexive: str) -> tuple[Noun, ...]:
    forms = (word.split("/") for word in words.split())
    return tuple(Noun(singular, plural, reflexive) for singular, plural in forms)


def _verbs(words: str) -> tuple[Verb, ...]:
    return tuple(Verb(*word.split("/")) for word in words.split())


MALE = _nouns("boy/boys king/kings monk/monks", "himself")
FEMALE = _nouns("girl/girls queen/queens nun/nuns", "herself")
PEOPLE = MALE + FEMALE

TRANSITIVE = _verbs("sees/see/saw/seen likes/like/liked/liked helps/help/helped/helped knows/know/knew/known")
INTRANSITIVE = _verbs("sleeps/sleep/slept/slept sings/sing/sang/sung waits/wait/waited/waited")

ADJECTIVES = ("old", "young", "tall", "kind")
PREPOSITIONS = ("near", "behind")
