"""A narrower and shallower student that inherits the teacher's most important heads, neurons and directions."""

from kdfeatures.models.pruning.parts import PRUNABLE as PRUNABLE
from kdfeatures.models.pruning.prune import prune_into as prune_into
