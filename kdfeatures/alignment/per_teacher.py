"""Projections for several teachers, each with pairs and a width of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class ProjectionsByTeacher(nn.Module):
    """The projections for each of several teachers, with pairs and a width of their own."""

    def __init__(self, projections: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # nn.ModuleDict takes no key that is one of its own attributes, such as "keys"
        self.by_teacher = nn.ModuleDict({f"teacher_{name}": module for name, module in projections.items()})


def projections_for(projections: nn.Module, teacher: str) -> nn.Module:
    """Return what brings the student's widths together with this teacher's; those of a single teacher are for any."""
    if isinstance(projections, ProjectionsByTeacher):
        return projections.by_teacher[f"teacher_{teacher}"]
    return projections
