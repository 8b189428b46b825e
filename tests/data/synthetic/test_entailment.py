import re
from random import Random

import pytest

from kdfeatures.data.synthetic import entailment
from kdfeatures.data.synthetic.entailment import KIND_OF, VERBS, quantifiers, roles

PAST = {past: verb for verb, (past, _, _) in VERBS.items()}
PARTICIPLE = {participle: verb for verb, (_, participle, _) in VERBS.items()}


def sense(verb):
    return frozenset((verb, VERBS[verb][2]))


def read(clause):
    """Return (agent, verb with its synonym, patient, negated) of an active or passive clause with definite nouns."""
    if found := re.fullmatch(r"the (\w+) was (not )?(\w+) by the (\w+)", clause):
        patient, negated, verb, agent = found.groups()
        return agent, sense(PARTICIPLE[verb]), patient, bool(negated)
    if found := re.fullmatch(r"the (\w+) did not (\w+) the (\w+)", clause):
        agent, verb, patient = found.groups()
        return agent, sense(verb), patient, True
    agent, verb, patient = re.fullmatch(r"the (\w+) (\w+) the (\w+)", clause).groups()
    return agent, sense(PAST[verb]), patient, False


def stated(premise):
    """Parse a premise back into its events: conjunction, subject relative or object relative."""
    if " and " in premise:
        return [read(clause) for clause in premise.split(" and ")]
    head, inner, rest = re.fullmatch(
        r"the (\w+) that ((?:the \w+ (?:did not )?\w+)|(?:(?:did not )?\w+ the \w+)) (.+)", premise
    ).groups()
    clause = f"{inner} the {head}" if inner.startswith("the ") else f"the {head} {inner}"
    return [read(clause), read(f"the {head} {rest}")]


def test_a_hypothesis_is_entailed_exactly_when_the_premise_states_it():
    rng = Random(5)
    for _ in range(3000):
        for (premise, hypothesis), label in roles(rng):
            assert (read(hypothesis) in stated(premise)) == (label == 0)


def test_quantifiers_follow_monotonicity_on_random_small_worlds():
    # a world says which of four individuals did it to which; an entailed hypothesis holds wherever its premise does
    rng = Random(7)
    worlds = [
        [[rng.random() < chance for _ in range(4)] for _ in range(4)] for chance in (0.1, 0.3, 0.5, 0.7, 0.9) * 60
    ]

    def holds(sentence, world, kinds):
        determiner, subject, _, _, thing = sentence.split()
        subjects = [i for i, kind in enumerate(kinds) if subject in (kind, KIND_OF[kind])]
        things = [i for i, kind in enumerate(kinds) if thing in (kind, KIND_OF[kind])]
        did = [any(world[i][j] for j in things) for i in subjects]
        return {"some": any(did), "no": not any(did), "every": all(did)}[determiner]

    for _ in range(60):
        for (premise, hypothesis), label in quantifiers(rng):
            kinds = set()
            for noun in (premise.split()[1], premise.split()[4], hypothesis.split()[1], hypothesis.split()[4]):
                kinds |= set(entailment.KINDS.get(noun, (noun,))) | set(entailment.KINDS[KIND_OF.get(noun, noun)])
            kinds = sorted(kinds)[:4]
            kept = all(holds(hypothesis, world, kinds) for world in worlds if holds(premise, world, kinds))
            assert kept == (label == 0), (premise, hypothesis)


@pytest.mark.parametrize("grammar", [roles, quantifiers])
def test_every_pair_has_one_entailed_and_one_not(grammar):
    rng = Random(11)
    for _ in range(200):
        assert [label for _, label in grammar(rng)] == [0, 1]
