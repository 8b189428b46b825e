"""What does a whole job cost that a user would run: a student of MRPC in three epochs, here and elsewhere?

python -m benchmarks.whole_jobs TEACHER GLUE     # folders: a BERT fine-tuned on MRPC; nyu-mll/glue
python -m benchmarks.whole_jobs TEACHER GLUE "kdfeatures, labels"     # one of the jobs alone

EXAMPLES of the 3,668 training examples, so that all ends in a quarter of an hour. All students begin as the teacher's
layers 2, 4, 6, ... and have its width; batches of 32, AdamW, 1e-4, falling linearly after a tenth of the steps, two
threads. Each job is a process of its own: its seconds are those from its start to its scored student, of which those of
`training` are the loop's own; its memory is the most that it held. One seed: scores show that a job does what it
should, and not which is better (their standard error is 1.8 points).

The terms of all distillation are those of recipe=tinybert_joint: hidden states, attention scores, soft answers. Peers
run the eager attention of benchmarks.peers.scores for that. Their own way to pad is to 128 tokens, as their examples
and run_glue do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import append_rows, high_water_mark

EXAMPLES, BATCH, EPOCHS, RATE, WARM_UP, LONGEST, THREADS, SEED = 800, 32, 3, 1e-4, 0.1, 128, 2, 1
OVERRIDES = (
    f"data.train_examples={EXAMPLES}",
    f"trainer.learning_rate={RATE}",
    f"trainer.num_train_epochs={EPOCHS}",
    f"trainer.threads={THREADS}",
    "trainer.eval_strategy=no",
    "trainer.save_strategy=no",
    "trainer.disable_tqdm=true",
)


class Job:
    """Folders, and the student that all jobs begin with."""

    def __init__(self, teacher: str, glue: str, scratch: Path) -> None:
        from transformers import AutoTokenizer

        from kdfeatures.config.compose import composed
        from kdfeatures.config.load import task_of
        from kdfeatures.data.load import encode, load_task, split_of
        from kdfeatures.data.subsets import subset
        from kdfeatures.models.load import load_trained
        from kdfeatures.models.students import StudentSpec, build_student
        from kdfeatures.tasks.registry import task_type

        self.path, self.glue, self.scratch = teacher, glue, scratch
        self.task = task_of(composed("distill", None, choices={"task": "mrpc"}, values={}))
        self.tokenizer = AutoTokenizer.from_pretrained(teacher)
        self.teacher = load_trained(teacher, "teacher.path", task_type(self.task), force=False).eval()
        torch.manual_seed(SEED)
        spec = StudentSpec(layers=self.teacher.config.num_hidden_layers // 2)
        self.student = build_student(spec, self.teacher, [0, 1], self.task)
        raw = load_task(self.task, glue)
        self.train, self.validation = (
            encode(split_of(raw, self.task, split), self.tokenizer, self.task, LONGEST)
            for split in ("train", "validation")
        )
        self.train = subset(self.train, EXAMPLES, SEED)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The layers that are compared, student and teacher."""
        return [(layer, 2 * layer) for layer in range(self.student.config.num_hidden_layers + 1)]

    def batches(self, *, fixed: bool) -> torch.utils.data.DataLoader:
        """Return a loader: in random order and padded to LONGEST, or of like lengths and padded to the longest."""
        from transformers import DataCollatorWithPadding

        from kdfeatures.evaluation.encoded import token_counts
        from kdfeatures.training.samplers import LengthBucketSampler

        examples = self.train
        if fixed:
            pad = DataCollatorWithPadding(self.tokenizer, padding="max_length", max_length=LONGEST)
            order = {"shuffle": True}
        else:
            pad = DataCollatorWithPadding(self.tokenizer)
            order = {"sampler": LengthBucketSampler(token_counts(examples), BATCH, SEED)}
        # TextBrewer takes nothing but a dict for one
        return torch.utils.data.DataLoader(examples, BATCH, collate_fn=lambda rows: dict(pad(rows)), **order)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Return what a Trainer is told."""
        return {
            "output_dir": str(self.scratch / "out"),
            "per_device_train_batch_size": BATCH,
            "num_train_epochs": EPOCHS,
            "learning_rate": RATE,
            "warmup_steps": WARM_UP,
            "weight_decay": 0.01,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": SEED,
        } | more

    def score(self, student: torch.nn.Module) -> float:
        """Return the mean of accuracy and F1 on the validation split, in percent."""
        from kdfeatures.evaluation.metrics import score
        from kdfeatures.evaluation.predict import predict_logits

        logits = predict_logits(student.eval(), self.validation, self.tokenizer, batch_size=BATCH, title="student")
        return 100 * score(self.task.metrics, logits.argmax(-1), self.validation["labels"][:])["combined_score"]


def run_glue(job: Job) -> tuple[float, float]:
    """As run_glue.py of transformers' examples fine-tunes: the plain Trainer, padded to LONGEST."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    collate = DataCollatorWithPadding(job.tokenizer, padding="max_length", max_length=LONGEST)
    trainer = Trainer(job.student, TrainingArguments(**job.arguments()), collate, train_dataset=job.train)
    return _timed(trainer.train), job.score(job.student)


def ours(recipe: str, *more: str) -> Callable[[Job], tuple[float, float]]:
    """kd.distill, as the command does it."""

    def run(job: Job) -> tuple[float, float]:
        import kdfeatures as kd

        result = kd.distill(
            task="mrpc",
            teacher=job.path,
            student=kd.StudentSpec(layers=job.student.config.num_hidden_layers),
            recipe=recipe,
            data_path=job.glue,
            seed=SEED,
            output_dir=job.scratch / "out",
            overrides=[*OVERRIDES, *(text.format(scratch=job.scratch) for text in more)],
        )
        metrics = result.student.metrics["validation"]
        return result.seconds["train"], 100 * metrics["combined_score"]

    return run


def textbrewer(*, fixed: bool) -> Callable[[Job], tuple[float, float]]:
    """GeneralDistiller.train, with its own padding or with our batches."""

    def run(job: Job) -> tuple[float, float]:
        from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
        from transformers import get_linear_schedule_with_warmup

        from benchmarks.peers import scores
        from benchmarks.peers.textbrewer import adaptor

        matches = [
            {"layer_T": theirs, "layer_S": own, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
            for own, theirs in job.pairs
        ] + [
            {"layer_T": theirs - 1, "layer_S": own - 1, "feature": "attention", "loss": "attention_mse", "weight": 1}
            for own, theirs in job.pairs[1:]
        ]
        for model in (job.teacher, job.student):
            model.set_attn_implementation(scores.IMPLEMENTATION)
        loader = job.batches(fixed=fixed)
        steps = EPOCHS * len(loader)
        training = TrainingConfig(device="cpu", output_dir=str(job.scratch), log_dir=None, ckpt_frequency=0)
        config = DistillationConfig(temperature=1, hard_label_weight=0, intermediate_matches=matches)
        distiller = GeneralDistiller(training, config, job.teacher, job.student, adaptor, adaptor)
        optimizer = torch.optim.AdamW(job.student.parameters(), lr=RATE, weight_decay=0.01)
        schedule = {"num_warmup_steps": int(WARM_UP * steps), "num_training_steps": steps}

        def train() -> None:
            with distiller:
                distiller.train(
                    optimizer,
                    loader,
                    num_epochs=EPOCHS,
                    scheduler_class=get_linear_schedule_with_warmup,
                    scheduler_args=schedule,
                    max_grad_norm=1.0,
                    output_hidden_states=True,
                    output_attentions=True,
                )

        return _timed(train), job.score(job.student)

    return run


def silverspoon(job: Job) -> tuple[float, float]:
    """HolisticDistiller.train of silverspoon-kd, with its own padding."""
    from silverspoon_kd import HolisticDistiller, TrainingArguments
    from silverspoon_kd.alignments import Alignment, OutputSelector
    from silverspoon_kd.losses import kl_divergence_loss, mse_loss
    from transformers import DataCollatorWithPadding

    from benchmarks.peers import scores

    teacher, student = job.teacher, job.student
    for model in (teacher, student):
        model.set_attn_implementation(scores.IMPLEMENTATION)
    second = OutputSelector(1)
    alignments = [
        Alignment(_output(teacher, theirs), _output(student, own), loss_function=mse_loss())
        for own, theirs in job.pairs
    ]
    alignments += [
        Alignment(
            teacher.bert.encoder.layer[theirs - 1].attention.self,
            student.bert.encoder.layer[own - 1].attention.self,
            teacher_output_selector=second,
            student_output_selector=second,
            loss_function=mse_loss(),
        )
        for own, theirs in job.pairs[1:]
    ]
    alignments.append(
        Alignment(teacher.classifier, student.classifier, loss_function=kl_divergence_loss(temperature=1.0))
    )
    distiller = HolisticDistiller(
        student_model=student,
        teacher_model=teacher,
        alignments=alignments,
        train_dataset=job.train,
        data_collator=DataCollatorWithPadding(job.tokenizer, padding="max_length", max_length=LONGEST),
        args=TrainingArguments(**job.arguments()),
    )
    return _timed(distiller.train), job.score(student)


JOBS: dict[str, Callable[[Job], tuple[float, float]]] = {
    "run_glue's way, labels": run_glue,
    "kdfeatures, labels": ours("hard"),
    "kdfeatures, labels and soft answers": ours("logits"),
    "kdfeatures, tinybert": ours("tinybert_joint"),
    "kdfeatures, tinybert, int8 teacher": ours("tinybert_joint", "teacher.dtype=int8"),
    "kdfeatures, tinybert, cache filled on the way": ours("tinybert_joint", "cache=auto", "cache.path={scratch}/cache"),
    "TextBrewer 0.2.1, tinybert, our batches": textbrewer(fixed=False),
    "TextBrewer 0.2.1, tinybert": textbrewer(fixed=True),
    "silverspoon-kd 0.1.0, tinybert": silverspoon,
}


def _output(model: Any, layer: int) -> torch.nn.Module:
    return model.bert.encoder.layer[layer - 1] if layer else model.bert.embeddings


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def one(name: str, teacher: str, glue: str) -> None:
    """Run one job in this process, and print what it cost as JSON."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        training, score = JOBS[name](Job(teacher, glue, Path(scratch)))
    print(json.dumps({"training": training, "score": score, "mebibytes": high_water_mark()}))


def main(teacher: str, glue: str, *names: str) -> None:
    reference = None
    for name in names or JOBS:
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.whole_jobs", "--one", name, teacher, glue]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds = time.perf_counter() - start
        cost = json.loads(printed.splitlines()[-1])
        reference = reference or seconds
        row = {"job": name, "task": "mrpc", "examples": EXAMPLES, "epochs": EPOCHS, "seconds": f"{seconds:.0f}"}
        row |= {"ratio": f"{seconds / reference:.2f}", "training_seconds": f"{cost['training']:.0f}"}
        append_rows("whole_jobs", [row | {"mebibytes": f"{cost['mebibytes']:.0f}", "score": f"{cost['score']:.1f}"}])


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
