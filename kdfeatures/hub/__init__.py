"""The Hugging Face Hub: whether it answers, and files of models that are in its local cache or are fetched to it."""
