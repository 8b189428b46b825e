from support.played_hub import forget, hub

__all__ = ["forget", "hub"]
