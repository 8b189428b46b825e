from support.workspace import composed_once, workspace

__all__ = ["composed_once", "workspace"]
