"""Entailment between two sentences: roles, voice, negation, synonyms and quantifiers.

A premise states two events; the hypothesis is about one of them. Both members of a pair share nearly all their words,
so overlap says nothing about the label: what decides is who did it to whom, and which way a quantifier lets a noun go.

    roles         the dog that the boy chased saw the fox    |= the dog was pursued by the boy; not: the boy saw the fox
    quantifiers   no child saw a pet                          |= no girl saw a pet; not: the reverse

"some" lets both nouns go up to a wider kind, "no" lets both go down, "every" lets its subject go down and its object
up. Not entailed means unknown or false, as in RTE.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

LABELS = ("entailment", "not_entailment")  # the order of RTE
COLUMNS = ("sentence1", "sentence2")
FUNCTION_WORDS = ("the", "a", "and", "that", "was", "did", "not", "by", "some", "no", "every", ",")

KINDS = {
    "child": ("boy", "girl"),
    "player": ("pianist", "drummer"),
    "leader": ("judge", "mayor"),
    "pet": ("dog", "cat"),
    "bird": ("crow", "dove"),
}
KIND_OF = {member: kind for kind, members in KINDS.items() for member in members}
NOUNS = (*KINDS, *KIND_OF)

# base form: (past, participle, base form of the synonym); all participles equal the past but one
VERBS = {
    "chase": ("chased", "chased", "pursue"),
    "help": ("helped", "helped", "assist"),
    "greet": ("greeted", "greeted", "welcome"),
    "see": ("saw", "seen", "notice"),
    "pursue": ("pursued", "pursued", "chase"),
    "assist": ("assisted", "assisted", "help"),
    "welcome": ("welcomed", "welcomed", "greet"),
    "notice": ("noticed", "noticed", "see"),
}


class Event(NamedTuple):
    """Who did what to whom, or did not."""

    agent: str
    verb: str
    patient: str
    negated: bool = False

    def predicate(self) -> str:
        return f"did not {self.verb}" if self.negated else VERBS[self.verb][0]

    def active(self) -> str:
        return f"the {self.agent} {self.predicate()} the {self.patient}"

    def passive(self) -> str:
        return f"the {self.patient} was {'not ' * self.negated}{VERBS[self.verb][1]} by the {self.agent}"

    def meaning(self) -> tuple[str, frozenset[str], str, bool]:
        """What synonyms share."""
        return self.agent, frozenset((self.verb, VERBS[self.verb][2])), self.patient, self.negated


def _sentence(rng: Random, event: Event) -> str:
    return rng.choice((event.active, event.passive))()


def _two_verbs(rng: Random) -> tuple[str, str]:
    first = rng.choice(tuple(VERBS))
    return first, rng.choice([verb for verb in VERBS if verb not in (first, VERBS[first][2])])


def _story(rng: Random) -> tuple[str, list[Event]]:
    """Return a premise and its two events."""
    noun_1, noun_2, noun_3, noun_4 = rng.sample(tuple(KIND_OF), 4)
    first, second = _two_verbs(rng)
    kind = rng.choice(("and", "subject relative", "object relative"))
    if kind == "and":
        events = [
            Event(noun_1, first, noun_2, rng.random() < 0.5),
            Event(noun_3, second, noun_4, rng.random() < 0.5),
        ]
        return f"{_sentence(rng, events[0])} and {_sentence(rng, events[1])}", events
    inner = Event(noun_1, first, noun_2, rng.random() < 0.5)
    if kind == "object relative":
        inner = inner._replace(agent=noun_2, patient=noun_1)
    outer = Event(noun_1, second, noun_3, rng.random() < 0.5)
    if rng.random() < 0.5:
        outer = outer._replace(agent=noun_3, patient=noun_1)
    predicate = (outer.active() if outer.agent == noun_1 else outer.passive()).removeprefix(f"the {noun_1} ")
    if kind == "subject relative":
        return f"the {noun_1} that {inner.predicate()} the {noun_2} {predicate}", [inner, outer]
    return f"the {noun_1} that the {noun_2} {inner.predicate()} {predicate}", [inner, outer]


def _untrue(rng: Random, event: Event, events: list[Event]) -> Event:
    """Return `event` with one thing changed, made of words of the premise, that the premise does not state."""
    other = events[1 - events.index(event)]
    meanings = {premise_event.meaning() for premise_event in events}
    changed = [
        event._replace(agent=event.patient, patient=event.agent),
        event._replace(negated=not event.negated),
        event._replace(verb=other.verb),
        event._replace(agent=rng.choice((other.agent, other.patient))),
        event._replace(patient=rng.choice((other.agent, other.patient))),
    ]
    return rng.choice([new for new in changed if new.agent != new.patient and new.meaning() not in meanings])


def roles(rng: Random) -> list[tuple[tuple[str, str], int]]:
    """Two hypotheses on one premise: one states an event of it, the other gets it wrong."""
    premise, events = _story(rng)
    event = rng.choice(events)
    rows = []
    for label, hypothesis in enumerate((event, _untrue(rng, event, events))):
        if rng.random() < 0.5:
            hypothesis = hypothesis._replace(verb=VERBS[hypothesis.verb][2])
        rows.append(((premise, _sentence(rng, hypothesis)), label))
    return rows


def quantifiers(rng: Random) -> list[tuple[tuple[str, str], int]]:
    """A premise and a hypothesis that differ in one noun, and the two exchanged: entailed one way only."""
    narrow, other = rng.sample(tuple(KIND_OF), 2)
    other = rng.choice((other, KIND_OF[other]))
    determiner = rng.choice(("some", "no", "every"))
    subject = rng.random() < 0.5
    verb = VERBS[rng.choice(tuple(VERBS))][0]
    sentences = []
    for noun in (narrow, KIND_OF[narrow]):
        pair_of_nouns = (noun, other) if subject else (other, noun)
        sentences.append(f"{determiner} {pair_of_nouns[0]} {verb} a {pair_of_nouns[1]}")
    up = determiner == "some" or (determiner == "every" and not subject)
    premise, hypothesis = sentences if up else reversed(sentences)
    return [((premise, hypothesis), 0), ((hypothesis, premise), 1)]


def pair(rng: Random) -> list[tuple[tuple[str, str], int]]:
    """Return [((premise, hypothesis), label), ...]: one entailed, one not."""
    return rng.choice((roles, roles, quantifiers))(rng)
