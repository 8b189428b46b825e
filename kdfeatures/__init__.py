"""kdfeatures: distil BERT-style encoders by their features."""
