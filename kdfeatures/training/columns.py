"""Which columns of a dataset reach a Distiller: it passes on what its models take, whatever that is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from kdfeatures.alignment.tokens.teacher_inputs import STUDENT_GROUPS, TEACHER_GROUPS
from kdfeatures.data.stored_predictions import ROW
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.tokenization.teacher_columns import column_of


def forward_columns(distiller: Distiller, tokenizer: Any, label_names: Sequence[str]) -> list[str]:
    """Return the columns that are kept where transformers' Trainer removes unused ones.

    Those that student or teachers name in their forward, what the tokenizer makes, labels, and what marks rows of a
    cache. A text beside them is left out.
    """
    models = (distiller.student, *distiller.teachers.values())
    model_columns = [name for model in models for name in inspect.signature(model.forward).parameters]
    tokenizer_columns = list(getattr(tokenizer, "model_input_names", ()))
    own = [*model_columns, *tokenizer_columns, *label_names, "label", "label_ids", "rows", ROW]
    groups = (STUDENT_GROUPS, TEACHER_GROUPS)
    of_teachers = [column_of(name, column) for name in distiller.columns for column in (*own, *groups)]
    return list(dict.fromkeys([*own, *of_teachers]))
