"""The kinds of tasks, a file each: a model's head, its inputs and its scores (kdfeatures.tasks.base says what of "
"each)."""
