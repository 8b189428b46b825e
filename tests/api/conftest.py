from support.workspace import workspace

__all__ = ["workspace"]
