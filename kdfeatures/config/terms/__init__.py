"""Terms of a run config: those that fit the models of recipe=auto, and how those made in Python are written down."""
