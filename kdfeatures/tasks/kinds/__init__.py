"""The kinds of tasks, a file each: a model's head, its inputs and its scores, as kdfeatures.tasks.base says of all."""
