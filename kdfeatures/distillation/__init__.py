"""Terms x pairs x weights: the objective, and student, projections and objective as one module to train.

Imports capture, losses, mapping and alignment; knows no Trainer, no task, no files.
"""

from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.mixup import Mixup
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.recipe import Recipe
from kdfeatures.distillation.schedules import Cosine, Linear, Schedule, Steps
from kdfeatures.distillation.term import BoundTerm, Term

__all__ = [
    "BoundObjective",
    "BoundTerm",
    "Cosine",
    "Distiller",
    "GradientBalancer",
    "Linear",
    "Mixup",
    "Objective",
    "Recipe",
    "Schedule",
    "Steps",
    "Term",
]
