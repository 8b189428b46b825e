"""Pages over several runs, and what those of a comparison and of a grid share: the curves of runs and links to them."""
