"""Task-aware filters: linear maps behind the layers of both models that keep what the task is predicted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.pairs import LayerPair


class TaskAwareProjections(nn.Module):
    """F_s h_s and F_t h_t in teacher dimensions, TED (arXiv:2210.01351): a filter for each layer of each model.

    Before training, `kdfeatures.training.task_filters` learns them by the task's labels, both models frozen and a head
    behind each filter, mean over layers. Then those of the teacher stay, and those of the student are trained
    with it. Unlike LinearProjections they leave out what a layer holds for other purposes, so that the student
    need not spend itself on it.
    epochs, learning_rate, batch_size: of the filters' own training, by AdamW, the rate falling linearly to 0.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_t).
    """

    fitted: Tensor

    def __init__(
        self,
        pairs: Sequence[LayerPair],
        student_width: int,
        teacher_width: int,
        *,
        epochs: int = 1,
        learning_rate: float = 1e-3,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError("must be at least 1", argument=name, value=value)
        if not 0 < learning_rate < 1:
            raise ConfigError(
                "must be above 0 and below 1", argument="learning_rate", value=learning_rate, hint="1e-3 is usual"
            )
        self.epochs, self.learning_rate, self.batch_size = epochs, learning_rate, batch_size
        self.widths = {"student": student_width, "teacher": teacher_width}
        self.layers = {
            "student": sorted({pair.student for pair in pairs}),
            "teacher": sorted({pair.teacher for pair in pairs}),
        }
        self.student, self.teacher = (
            nn.ModuleDict({str(layer): nn.Linear(self.widths[side], teacher_width) for layer in layers})
            for side, layers in self.layers.items()
        )
        self.teacher.requires_grad_(False)
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, student: Mapping[int, nn.Linear], teacher: Mapping[int, nn.Linear]) -> None:
        """Take over filters that have learned the task, by layer."""
        for filters, learned in ((self.student, student), (self.teacher, teacher)):
            for layer, linear in learned.items():
                filters[str(layer)].load_state_dict(linear.state_dict())
        self.fitted.fill_(True)

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return self.student[str(pair.student)](student), self.teacher[str(pair.teacher)](teacher)


def check_fitted(projections: nn.Module) -> None:
    """Raise ConfigError for filters, here or inside, that have not learned the task yet."""
    filters = (module for module in projections.modules() if isinstance(module, TaskAwareProjections))
    if not all(bool(module.fitted) for module in filters):
        raise ConfigError(
            "task-aware projections have not learned the task yet",
            hint="fit them first, as kdfeatures.distill and the command line do",
            key="projection.not_fitted",
        )
