import numpy as np
from support.encoded_rows import LENGTHS, encoded
from transformers import EvalPrediction

from kdfeatures.evaluation.validation import ValidationScores


def test_what_comes_longest_first_is_put_into_the_order_of_the_split():
    split = encoded(labels=list(range(len(LENGTHS))))
    seen = []

    def read(output):
        seen.append(output)
        return output.predictions[0]

    scores = ValidationScores(split, read, lambda answers: {"sum": float(answers.sum())})
    assert scores.answers is None
    order = list(scores.rows)
    assert len(scores.rows) == len(LENGTHS) == len(set(order))
    assert [LENGTHS[row] for row in order] == sorted(LENGTHS, reverse=True)
    logits = np.arange(len(LENGTHS))[order, None] * 10.0
    total = 10.0 * sum(range(len(LENGTHS)))
    assert scores(EvalPrediction((logits, (logits, -logits)), np.array(order))) == {"sum": total}
    np.testing.assert_array_equal(scores.answers[:, 0], np.arange(len(LENGTHS)) * 10.0)
    np.testing.assert_array_equal(seen[0].label_ids, split["labels"][:])
    np.testing.assert_array_equal(seen[0].predictions[1][1], -scores.answers)
    scores(EvalPrediction((logits,), None))  # of labels that are not known
    assert seen[1].label_ids is None
