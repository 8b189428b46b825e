from support.exporting import operators_once
from support.played_hub import forget, hub
from support.workspace import workspace

__all__ = ["forget", "hub", "operators_once", "workspace"]
