"""kdfeatures: distil BERT-style encoders by their features.

    from kdfeatures.capture import capture          hidden states and attention operands of a forward pass
    from kdfeatures.losses import RelationKL        what to compare; kdfeatures.mapping says between which layers
    from kdfeatures.distiller import Distiller      student, projections and objective as one module to train

Names are imported from where they live: transformers takes seconds to load, and `kdfeatures --help` should not.
"""
