from support.exporting import operators_once
from support.workspace import workspace

__all__ = ["operators_once", "workspace"]
