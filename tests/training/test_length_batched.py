import pytest
import torch
from datasets import Dataset
from support.runs_for_tests import plain_trainer, small_dataset, small_distiller, small_trainer, weights

from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.losses import HardLabel
from kdfeatures.training.length_batched import padding_share


def logged(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    "settings",
    [{"train_sampling_strategy": "random"}, {"train_sampling_strategy": "group_by_length"}, {"tokens_per_batch": 60}],
    ids=["random", "group_by_length", "tokens_per_batch"],
)
def test_the_padding_share_is_that_of_the_batches_trained_on(tmp_path, settings):
    trainer = small_trainer(small_distiller(), tmp_path, logging_steps=4, eval_strategy="epoch", **settings)
    masks = []

    def keep(module, args, inputs):
        if module.training:
            masks.append(inputs["attention_mask"].clone())

    trainer.model.register_forward_pre_hook(keep, with_kwargs=True)
    trainer.train()
    real, positions = (sum(int(count(mask)) for mask in masks) for count in (torch.sum, torch.numel))
    assert padding_share(trainer) == pytest.approx(1 - real / positions, abs=1e-6)
    assert sum(entry.get("positions", 0) for entry in trainer.state.log_history) == positions


def test_a_token_budget_pads_less_than_batches_of_one_size(tmp_path):
    shares = {}
    for name, settings in {"random": {}, "budget": {"tokens_per_batch": 96}}.items():
        trainer = small_trainer(small_distiller(), tmp_path, examples=480, num_train_epochs=1, **settings)
        trainer.train()
        shares[name] = padding_share(trainer)
    assert shares["budget"] < 0.1 * shares["random"]


def test_nothing_trained_has_no_padding_share(tmp_path):
    assert padding_share(small_trainer(small_distiller(), tmp_path)) is None


def test_with_a_budget_an_epoch_of_accumulated_batches_equals_one_large_batch(tmp_path):
    # so each example weighs the same, however many are in its batch
    large = small_trainer(small_distiller(), tmp_path, per_device_train_batch_size=48, max_steps=2)
    packed = small_trainer(
        small_distiller(), tmp_path, tokens_per_batch=40, gradient_accumulation_steps=14, max_steps=2
    )
    assert len(packed._sampler) == 14 and len({len(batch) for batch in packed._sampler}) > 2
    large.train()
    packed.train()
    for (name, one), other in zip(large.model.state_dict().items(), packed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, msg=name)


def test_logged_terms_are_weighed_as_the_loss_is(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path, tokens_per_batch=40)
    trainer.train()
    assert len(logged(trainer)) == trainer.state.global_step
    for entry in logged(trainer):
        total = 0.5 * entry["loss/labels"] + 0.5 * entry["loss/logits"] + entry["loss/hidden"]
        assert entry["loss"] == pytest.approx(total + 0.1 * entry["loss/relations"], rel=1e-3)


def test_the_schedule_counts_the_batches_of_the_budget(tmp_path):
    trainer = small_trainer(small_distiller(), tmp_path, tokens_per_batch=40, gradient_accumulation_steps=2)
    trainer.train()
    assert len(trainer._sampler) % 2 == 0
    assert trainer.state.global_step == trainer.state.max_steps == 2 * len(trainer._sampler) // 2
    short = small_trainer(small_distiller(), tmp_path, tokens_per_batch=40, max_steps=3)
    short.train()
    assert short.state.global_step == 3


@pytest.mark.parametrize("stopped_at", [4, 9])  # within the first epoch, and within the second
def test_a_run_with_a_budget_resumes_to_the_same_weights(tmp_path, stopped_at):
    settings = {"tokens_per_batch": 60, "save_strategy": "steps", "save_steps": stopped_at}
    whole = small_trainer(small_distiller(dropout=0.1), tmp_path, **settings)
    whole.train()
    assert whole.state.max_steps == 2 * len(whole._sampler) > stopped_at
    resumed = small_trainer(small_distiller(dropout=0.1), tmp_path, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stopped_at}"))
    for (name, one), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert padding_share(resumed) == padding_share(whole)


def test_a_budget_below_the_longest_example_is_refused_before_training(tmp_path):
    with pytest.raises(UserError, match="tokens_per_batch=11 is less than the longest training example, 12 tokens"):
        small_trainer(small_distiller(), tmp_path, tokens_per_batch=11)


def test_token_counts_follow_a_selection():
    dataset = small_dataset(20)
    chosen = dataset.select([7, 3, 3, 19])
    assert token_counts(chosen).tolist() == [len(ids) for ids in chosen["input_ids"]]
    assert token_counts(Dataset.from_dict({"input_ids": [[1, 2], [3]]})).tolist() == [2, 1]


@pytest.mark.parametrize("loss", [None, HardLabel(class_weights=[1.0, 5.0])], ids=["own", "weighed"])
@pytest.mark.parametrize(
    "parts", [{"per_device_train_batch_size": 12, "gradient_accumulation_steps": 4},
              {"tokens_per_batch": 40, "gradient_accumulation_steps": 14}], ids=["sizes", "budget"],
)  # fmt: skip
def test_a_classifier_of_accumulated_batches_is_that_of_one_large_batch(tmp_path, loss, parts):
    trained = []
    for settings in ({"per_device_train_batch_size": 48}, parts):
        trainer = plain_trainer(tmp_path, loss=loss, **settings)
        trainer.train()
        trained.append(
            (weights(trainer), [entry["loss"] for entry in logged(trainer)], logged(trainer)[0]["grad_norm"])
        )
    (large, losses, norm), (accumulated, its_losses, its_norm) = trained
    for name, expected in large.items():
        torch.testing.assert_close(accumulated[name], expected, atol=1e-6, rtol=1e-4, msg=name)
    assert its_losses == pytest.approx(losses, rel=1e-4)
    assert its_norm == pytest.approx(norm, rel=1e-4)
