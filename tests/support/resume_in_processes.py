"""Run in two processes by test_resume_in_processes: does a run resumed in its second epoch end the same?

Argument: folder. Writes the largest difference in each setting to differences.json.
"""

import json
import sys
from pathlib import Path

import torch
from support.runs_for_tests import small_dataset, small_distiller, small_trainer
from transformers import Trainer

from kdfeatures.training.fsdp import shard_by_layer

SETTINGS = {
    "shuffled": {"train_sampling_strategy": "random"},
    "length buckets": {"train_sampling_strategy": "group_by_length"},
    "token budget": {"tokens_per_batch": 40},
    "FSDP": {"train_sampling_strategy": "group_by_length", "fsdp": True},
    "stream": {"streaming": True, "max_steps": 8},
}
EXAMPLES = 32
STOPPED_AT = 6  # of 8 steps in two epochs; the budget gives 10


def run(folder: Path, settings: dict, checkpoint: Path | None) -> Trainer:
    distiller = small_distiller(dropout=0.1)
    settings = dict(settings)
    streaming = settings.pop("streaming", False)
    if checkpoint is not None:
        with torch.no_grad():  # all that matters must come from the checkpoint
            for parameter in distiller.parameters():
                parameter.add_(1)
    shard_by_layer(distiller, distiller.student)
    trainer = small_trainer(
        distiller,
        folder,
        examples=EXAMPLES,
        per_device_train_batch_size=4,
        save_strategy="steps",
        save_steps=STOPPED_AT,
        ddp_backend="gloo",
        **({"fsdp_config": {"reshard_after_forward": False}} if "fsdp" in settings else {}),
        **settings,
    )
    if streaming:
        examples = small_dataset(EXAMPLES).to_iterable_dataset().shuffle(seed=1, buffer_size=8)
        trainer.train_dataset = examples
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


def main() -> None:
    torch.set_num_threads(1)
    folder, differences = Path(sys.argv[1]), {}
    for name, settings in SETTINGS.items():
        made = folder / name.replace(" ", "_")
        whole = run(made, settings, None)
        resumed = run(made, settings, made / f"checkpoint-{STOPPED_AT}")
        one, other = (trainer.accelerator.get_state_dict(trainer.model) for trainer in (whole, resumed))
        if whole.args.process_index == 0:
            differences[name] = max((one[key] - other[key]).abs().max().item() for key in one)
            windows = [[entry.get("padding") for entry in made.state.log_history] for made in (whole, resumed)]
            differences[f"{name}, padding"] = float(windows[0] != windows[1])
    if whole.args.process_index == 0:
        (folder / "differences.json").write_text(json.dumps(differences))


if __name__ == "__main__":
    main()
