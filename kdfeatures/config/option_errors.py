"""What is wrong with an argument, said by the option that the user wrote on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kdfeatures.errors import ConfigError, UserError

# by the `key` of an error: its line, from the error's facts, value, and `option`, the term's or the section's name
TEXTS = {
    "map.empty": "the layer mapping has no pairs; name at least one, for instance mapping.pairs=[[1,2]].",
    "map.explicit": (
        "mapping.pairs must be a list of [student layer, teacher layer], but holds {pair}; write for instance "
        "mapping.pairs=[[1,2],[2,4]]."
    ),
    "map.skip": (
        "mapping=skip leaves the final layer out, so a student with {student_layers} layer has nothing to match; use "
        "mapping=final."
    ),
    "map.depth": (
        "mapping={rule} needs a student that is not deeper than the teacher, but the student has {student_layers} "
        "layers and the teacher {teacher_layers}; use mapping=uniform or mapping=explicit."
    ),
    "map.loss": (
        "{option} takes {inputs}, but mapping={rule} serves terms on {supports}; give the term a map of its own, "
        "'+mapping@{option}.mapping=uniform'."
    ),
    "map.width": (
        "{option} compares widths {student_width} (student) and {teacher_width} (teacher) without a projection, but "
        "mapping=attention weighs layers by dot products; give the term a map of its own, "
        "'+mapping@{option}.mapping=uniform'."
    ),
    "map.sharded": (
        "mapping={rule} trains weights that trainer.fsdp=true would shard over the processes; leave out one of the two."
    ),
    "map.random_depth": (
        "mapping=random draws a teacher layer for each of the student's {student_layers}, but the teacher has "
        "{teacher_layers}; use mapping=uniform or mapping=attention."
    ),
    "map.random_every": "mapping.every={value} must be at least 1 step, or null for an epoch.",
    "map.random_streaming": (
        "mapping=random draws once an epoch, which data.streaming=true has not; say after how many steps it shall draw "
        "anew: mapping.every=1000."
    ),
    "map.cka_streaming": (
        "mapping=cka is measured on chosen examples, which a stream cannot give; use mapping=uniform, or "
        "data.streaming=false."
    ),
    "map.cka_not_finite": (
        "mapping=cka found hidden states that are not finite, so layers cannot be compared; check both models, or use "
        "mapping=uniform."
    ),
    "heads.sharded": (
        "heads=learned trains mixes that trainer.fsdp=true would shard over the processes; leave out one of the two."
    ),
    "heads.streaming": (
        "heads=hungarian compares heads on chosen examples, which a stream cannot give; use another heads=, or "
        "data.streaming=false."
    ),
    "projection.narrowing": (
        "projection={name} maps the teacher into fewer dimensions, but the student is wider ({student_width} against "
        "{teacher_width}); use projection=linear."
    ),
    "projection.not_fitted": (
        "projection=task_aware has not learned the task yet; use projection=linear where nothing fits it."
    ),
    "projection.pca_tokens": (
        "projection=pca needs more than {width} tokens to find as many directions, but {examples} examples gave "
        "{tokens}; raise projection.examples."
    ),
    "objective.empty": (
        "the run has no losses; choose recipe=... or add one, for instance +loss@losses.logits=logit_kd."
    ),
    "objective.idle_teacher": (
        "no term learns anything from teachers.{teacher}; give it a weight, or a term with teacher={teacher}, or leave "
        "it out."
    ),
    "term.unknown_teacher": "{option}.teacher={teacher} is no teacher of this run{nearest}; it has {known}.",
    "term.stored_teacher": (
        "{option} compares layers, but teacher.outputs holds none; drop it with '~{option}', or choose recipe=logits."
    ),
    "term.outputs": (
        "{option} is {loss}, which compares outputs that mean {known}, but those of this task mean {outputs}; use "
        "{fitting}, '{option}._target_=kdfeatures.losses.{fitting}', or another recipe."
    ),
    "term.vectors_of_several": (
        "{option} is {loss}, which compares the vectors of texts, but several teachers have none in common; give one "
        "teacher."
    ),
    "term.embeddings_only": "{option} compares attention, but the mapping pairs nothing but the embeddings.",
    "term.flow": (
        "{option} compares the step from one mapped pair of layers to the next, but the mapping has only the pair "
        "{pair}; give it another, for instance '+mapping@{option}.mapping=uniform'."
    ),
    "term.flow_dynamic": (
        "{option} compares the step from one mapped pair of layers to the next, but the student has one layer; give it "
        "another, for instance '+mapping@{option}.mapping=uniform'."
    ),
    "term.groups": (
        "{option} compares scores before the softmax, but student and teacher have other tokenizers and are compared "
        "by groups of tokens, which have none; use attention_kl, or relation_kl."
    ),
    "term.groups_heads": (
        "{option} splits queries and keys anew into heads, but student and teacher have other tokenizers, and groups "
        "of tokens have probabilities alone; set heads=hungarian, mean or learned."
    ),
    "term.positions": (
        "{option} compares attention scores, but '{model_type}' {reason}; use relation_kl or value_relation "
        "(recipe=minilmv2)."
    ),
    "term.positions_heads": (
        "{option} splits queries and keys anew into heads, but '{model_type}' adds relative positions to the scores of "
        "its own; set heads=hungarian, mean or learned."
    ),
    "loss.positional": (
        "this model's attention scores are not known: they do not follow from q, k and a bias alone, or the bias was "
        "not kept; use features.attention_probs(layer), which are the model's own, or a relation loss "
        "(recipe=minilmv2)."
    ),
    "loss.heads": (
        "{loss} needs equal head counts, but the student has {student_heads} heads and the teacher {teacher_heads}; "
        "{ways}RelationKL (recipe=minilmv2) does not need it."
    ),
    "loss.masked_tokens": (
        "MaskedLanguageModel needs logits (tokens, vocabulary) and one token id for each, but the logits are {logits} "
        "and the labels {labels} of {dtype}; use task=text."
    ),
    "term.weight_schedule": "{option} goes down to {lowest}, but a weight must not be negative.",
    "schedule.kind": (
        "{option}.schedule={value} is unknown{nearest}; choose one of {kinds}, or give a number: {option}=0.5."
    ),
    "schedule.fields": "{option} has schedule={kind}, which takes {wanted}, but gives {given}.",
    "balance.share": "balance.shares.{term}={value} must be a finite number above 0; ~losses.{term} drops the term.",
    "mixup.alpha": "mixup.alpha={value} must be a finite number above 0; mixup=off mixes nothing.",
    "mixup.consistency": "mixup.consistency={value} must be a finite number that is not negative.",
    "mixup.labels": (
        "losses.{term} reads labels, and two texts that mixup=embeddings mixes have none in common; drop it with "
        "~losses.{term}, or mix in a stage of its own."
    ),
    "mixup.no_layers": (
        "mixup.consistency compares the student's layers by the terms on layers, and there is none; set it to 0."
    ),
    "mixup.balanced": (
        "balance=shares knows the gradients of terms alone, and mixup.consistency is none; leave out one of the two."
    ),
    "mixup.name": "losses.consistency has the name under which mixup.consistency is logged; give it another one.",
    "mixup.groups": (
        "mixup=embeddings mixes texts token by token, but student and teacher have other tokenizers; use mixup=off."
    ),
    "mixup.checkpointed": (
        "trainer.activation_checkpointing=true computes layers again in the backward pass, where mixup=embeddings no "
        "longer mixes; leave out one of the two."
    ),
    "mixup.compiled": (
        "mixup=embeddings draws another share for every batch, and trainer.torch_compile=true would compile each anew; "
        "leave out one of the two."
    ),
    "mixup.embeddings_elsewhere": (
        "{model} hands its embeddings past its first layer, so that texts cannot be mixed there; use mixup=off."
    ),
    "gradients.sharded_balanced": (
        "balance=shares needs the gradients of whole parameters, but trainer.fsdp=true shards them over the processes; "
        "leave out one of the two."
    ),
    "gradients.sharded_explained": (
        "explain=true needs the gradients of whole parameters, but trainer.fsdp=true shards them over the processes; "
        "leave out one of the two."
    ),
    "gradients.compiled_balanced": (
        "balance=shares runs backward once for each term, but what trainer.torch_compile=true makes can do so only "
        "once; leave out one of the two."
    ),
    "gradients.compiled_explained": (
        "explain=true runs backward once for each term, but what trainer.torch_compile=true makes can do so only once; "
        "leave out one of the two."
    ),
    "cache.pattern": (
        "the teacher's layer {layer} attends to a pattern that is neither all tokens nor a window around each, which "
        "the cache cannot rebuild; use cache=off, or map another layer."
    ),
    "cache.tokens": (
        "the teacher's {what} has {states} tokens for {tokens} of input, so it cannot be kept token by token; use "
        "cache=off."
    ),
    "augmentation.copies": ("augmentation.copies={value} must be a whole number from 1; augmentation=off makes none."),
    "sampler.budget": (
        "trainer.tokens_per_batch={value} is less than the longest training example, {longest} tokens; raise it, or "
        "cut the examples with data.max_length."
    ),
    "checkpoint.maps": (
        "{checkpoint} was written with another mapping; resume with the same, or start anew with existing=overwrite."
    ),
    "checkpoint.heads": (
        "{checkpoint} was written with other heads=; resume with the same, or start anew with existing=overwrite."
    ),
    "checkpoint.losses": (
        "{checkpoint} was written with another loss; resume with the same, or start anew with existing=overwrite."
    ),
    "checkpoint.vectors": (
        "{checkpoint} was written with vectors of other widths; resume with the same models, or start anew with "
        "existing=overwrite."
    ),
    "checkpoint.balance": (
        "{checkpoint} was written with balance=off; resume with the same, or start anew with existing=overwrite."
    ),
    "checkpoint.fsdp": (
        "{checkpoint} was written with trainer.fsdp={fsdp}; resume with the same, or start anew with "
        "existing=overwrite."
    ),
    "student.path_sizes": (
        "student.path={path} has its own layers and sizes, so student.{name}={size} has no effect; set "
        "student.{name}=null, or leave out the path."
    ),
    "student.family": (
        "kdfeatures cannot derive a student from the config of a '{model_type}' teacher: {reason}; make the student "
        "yourself, or take one of another family, and give student.path=FOLDER."
    ),
    "student.heads": (
        "student.hidden_size={hidden_size} is not a multiple of student.heads={heads}; choose student.heads so that it "
        "divides the width."
    ),
    "student.too_deep": (
        "student.init={init} copies layers, but student.layers={depth} is more than the teacher's {teacher_depth}; "
        "choose at most as many, name the layers to copy with student.layers_from, or use student.init=random."
    ),
    "student.copies_none": (
        "student.layers_from={layers_from} names layers to copy, but student.init={init} copies none; leave out one of "
        "them."
    ),
    "student.pca": (
        "student.init=pca makes embeddings narrower, but student.hidden_size={hidden_size} is not below the teacher's "
        "{teacher_size}; choose a smaller one, or student.init=teacher."
    ),
    "student.prunable": (
        "student.init=pruned cuts {prunable}, but the teacher is a '{model_type}'; use student.init=teacher, pca or "
        "random."
    ),
    "student.pruned_width": (
        "student.init=pruned keeps directions of the teacher's {teacher_size}, so student.hidden_size={hidden_size} is "
        "too many; choose at most as many, or student.init=random."
    ),
    "student.copy_sizes": (
        "student.init=teacher copies whole layers, but student.{size}={student_size} and the teacher has "
        "{teacher_size}; use student.init=pruned for smaller sizes, or random."
    ),
    "model.heads": (
        "model.hidden_size={hidden_size} is not a multiple of model.heads={heads}; choose model.heads so that it "
        "divides the width."
    ),
}
WAYS = "heads=hungarian, mean, learned or relation makes them equal, and "
SECTIONS = {"sampler.examples": "trainer"}  # of arguments whose error says no more than their option's name


def option_line(error: UserError, name: str | None = None) -> str:
    """Return an error as one line about options. name: the option whose value was refused, if that is known.

    >>> error = ConfigError("must be at least 1", argument="examples", value=0)
    >>> option_line(error, "projection")
    'projection.examples=0 must be at least 1.'
    """
    if not isinstance(error, ConfigError):
        return str(error)
    facts = {key: ", ".join(map(str, value)) if _is_words(value) else value for key, value in error.facts.items()}
    if facts.get("compares_scores") is not None:
        facts["ways"] = WAYS if facts["compares_scores"] else ""
    term = error.facts.get("term")
    if error.key in TEXTS:
        named = f"losses.{term}" if term is not None and name is None else name
        return TEXTS[error.key].format(**{"nearest": "", **facts, "option": named, "value": error.value})
    section = SECTIONS.get(error.key or "", error.section) or (None if term is None else f"losses.{term}")
    prefix = name if name is not None else section
    return error.said(f"{prefix}." if prefix else "")


@contextmanager
def option(name: str) -> Iterator[None]:
    """Let errors about arguments, raised inside the block, name the option `name` and what is below it."""
    try:
        yield
    except ConfigError as error:
        raise UserError(option_line(error, name)) from error


def _is_words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)
