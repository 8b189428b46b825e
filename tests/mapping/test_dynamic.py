"""What the maps do in a Distiller and its Trainer."""

import json

import pytest
import safetensors.torch
import torch
from support.caching import collators, small_cache
from support.moving import RULES, distiller_of_every_map, moving_distiller, moving_map
from support.refused import refused_as
from support.runs_for_tests import StopAt, small_dataset, small_trainer
from support.tiny import tiny_batch

from kdfeatures.capture.context import capture
from kdfeatures.losses import AttentionScoreMSE, FlowMSE, HiddenMSE, TokenGramMSE
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.training.checkpoints import MAPS


def loss_and_gradients(distiller, batch):
    distiller.train().zero_grad()
    loss = distiller(**batch)["loss"]
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in distiller.parameters() if p.grad is not None)]


def pair_values(distiller, batch):
    """Each candidate pair's loss, with its graph, from plain captured features."""
    layers = {"student": range(3), "teacher": range(4)}
    found = {}
    for side, model in (("student", distiller.student), ("teacher", distiller.teacher)):
        with capture(model, hidden=layers[side]) as features:
            model(**batch)
        found[side] = features.hidden
    values = {}
    for pair in distiller.objective.terms["layers"].pairs:
        states = distiller.objective.projections.linear[pair.projection](found["student"][pair.student])
        values[pair] = HiddenMSE()(states, found["teacher"][pair.teacher].detach(), batch["attention_mask"])
    return values


@pytest.mark.parametrize("rule", ["random", "emd", "learned"])
@pytest.mark.parametrize("pair_reduction", ["sum", "mean"])
def test_a_step_is_the_weighted_sum_over_the_pairs_in_value_and_gradient(rule, pair_reduction):
    distiller = moving_distiller(moving_map(rule), pair_reduction=pair_reduction).train()
    batch = tiny_batch()
    found = loss_and_gradients(distiller, batch)
    weights = distiller.objective.maps["layers"].weights()
    values = pair_values(distiller, batch)
    total = sum(value * (weights[p.student - 1, p.teacher - 1] if p.student else 1) for p, value in values.items())
    if pair_reduction == "mean":
        total = total / 3  # student layers, with the embeddings
    torch.testing.assert_close(found[0], total.detach())
    gradients = torch.autograd.grad(
        total, [p for n, p in distiller.named_parameters() if "moving" not in n], allow_unused=True
    )
    wanted = [g for g in gradients if g is not None]
    own = {n: p.grad for n, p in distiller.named_parameters() if p.grad is not None and "moving" not in n}
    assert len(own) == len(wanted)
    for one, other in zip(own.values(), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_candidates_share_one_projection_for_each_student_layer(rule):
    distiller = moving_distiller(moving_map(rule))
    assert set(distiller.objective.projections.linear) == {"0_to_any", "1_to_any", "2_to_any"}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", [HiddenMSE(), TokenGramMSE(), AttentionScoreMSE()], ids=lambda x: type(x).__name__)
def test_gradient_checkpointing_changes_nothing(rule, loss):
    if rule == "attention" and not getattr(loss, "needs_projection", False):
        pytest.skip("the map refuses it")
    batch, found = tiny_batch(), []
    for checkpointing in (False, True):
        distiller = moving_distiller(moving_map(rule), loss)
        if checkpointing:
            distiller.activation_checkpointing_enable()
        found.append(loss_and_gradients(distiller, batch))
    assert len(found[0]) == len(found[1]) > 1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", [HiddenMSE(), AttentionScoreMSE()], ids=lambda x: type(x).__name__)
def test_a_cached_step_is_a_live_one(tmp_path, rule, loss):
    if rule == "attention" and loss.inputs == "attention":
        pytest.skip("the map refuses it")
    distiller = moving_distiller(moving_map(rule), loss)
    examples, _, cached = collators(small_cache(tmp_path, distiller.teacher), distiller, small_dataset(12))
    found = []
    for live in (False, True):
        batch = cached([examples[n] for n in (3, 7, 1)])
        if live:
            del batch["teacher_features"]
        found.append(loss_and_gradients(moving_distiller(moving_map(rule), loss), batch))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_compiled_step_is_a_plain_one():
    batch, found = tiny_batch(), []
    for compiled in (False, True):
        distiller = distiller_of_every_map(teachers=2).train()  # each pair is traced by itself
        if compiled:
            distiller.compile(backend="eager")
        loss, *gradients = loss_and_gradients(distiller, batch)
        found.append([loss, *(distiller.parts[rule] for rule in RULES), *gradients])
    torch._dynamo.reset()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_random_map_serves_flows_between_the_layers_it_draws():
    moving = moving_map("random")
    distiller = moving_distiller(moving, FlowMSE()).train()
    batch = tiny_batch()
    first = distiller(**batch).loss
    drawn = moving.active_pairs()
    epoch = next(n for n in range(1, 9) if (moving.advance(0, n), moving.active_pairs() != drawn)[1])
    assert not torch.isclose(first, distiller(**batch).loss), epoch


@pytest.mark.parametrize(
    ("rule", "loss"),
    [("attention", AttentionScoreMSE()), ("attention", FlowMSE()), ("emd", FlowMSE()), ("learned", FlowMSE())],
)
def test_a_loss_that_a_map_does_not_serve_is_refused(rule, loss):
    with refused_as(
        f"the loss takes {loss.inputs}, but the map {rule} serves losses on hidden",
        "losses.x",
        f"losses.x takes {loss.inputs}, but mapping={rule} serves terms on hidden",
    ):
        moving_map(rule).check_loss(loss, 16, 24)


def run_of_every_map(folder, *, save_steps=4, stop=None, resume=None):
    settings = {"save_strategy": "steps", "save_steps": save_steps, "num_train_epochs": 3}
    trainer = small_trainer(distiller_of_every_map(), folder, **settings)
    if stop:
        trainer.add_callback(StopAt(stop))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run_of_every_map(tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("step", [4, 6], ids=["within an epoch", "between epochs"])
def test_a_resumed_run_ends_with_the_same_weights_and_log_to_the_bit(uninterrupted, tmp_path, step):
    run_of_every_map(tmp_path, save_steps=step, stop=step)
    resumed = run_of_every_map(tmp_path, save_steps=step, resume=str(tmp_path / f"checkpoint-{step}"))
    states = [trainer.model.state_dict() for trainer in (uninterrupted, resumed)]
    for (name, one), other in zip(states[0].items(), states[1].values(), strict=True):
        assert torch.equal(one, other), name
    logs = [[e["maps"] for e in trainer.state.log_history if "maps" in e] for trainer in (uninterrupted, resumed)]
    assert logs[0] == logs[1] and len(logs[0]) == 3
    assert all(entry.keys() == set(RULES) for entry in logs[0])


@pytest.mark.parametrize("rule", RULES)
def test_the_state_is_logged_at_the_end_of_every_epoch_and_when_training_ends(tmp_path, rule):
    trainer = small_trainer(moving_distiller(moving_map(rule)), tmp_path, num_train_epochs=3, max_steps=14)
    trainer.train()
    trainer.save_state()
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    entries = [entry for entry in history if "maps" in entry]
    assert [entry["step"] for entry in entries] == [6, 12, 14]
    for entry in entries:
        weights = torch.tensor(entry["maps"]["layers"])
        assert weights.shape == (2, 3) and weights.sum().item() == pytest.approx(2, abs=1e-3)
        rows = weights / weights.sum(1, keepdim=True)
        assert entry["map/layers/layer/2"] == pytest.approx((rows[1] @ torch.tensor([1.0, 2.0, 3.0])).item(), abs=1e-3)
        assert 0 <= entry["map/layers/entropy"] <= 1.0987
    assert len({str(entry["maps"]) for entry in entries}) > 1


def test_learned_weights_are_trained_at_their_own_rate_and_saved(tmp_path):
    moving = moving_map("learned", learning_rate=0.05)
    trainer = small_trainer(
        moving_distiller(moving), tmp_path, learning_rate=1e-5, num_train_epochs=1, weight_decay=0.1
    )
    trainer.create_optimizer()
    (group,) = [group for group in trainer.optimizer.param_groups if group["lr"] == 0.05]
    assert group["params"] == [moving.logits] and group["weight_decay"] == 0
    trainer.train()
    assert moving.logits.abs().max() > 0.01
    trainer.save_model()
    saved = safetensors.torch.load_file(tmp_path / MAPS)
    assert torch.equal(saved["of_layers.logits"], moving.logits)
    student = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert all(name.startswith(("bert.", "classifier.")) for name in student)


def test_learned_weights_and_sharding_are_refused():
    with refused_as(
        "the map learned trains weights that FSDP would shard",
        None,
        "mapping=learned trains weights that trainer.fsdp=true would shard",
    ):
        moving_map("learned").check_training(sharded=True, streaming=False)
    for rule in ("random", "emd"):
        moving_map(rule).check_training(sharded=True, streaming=False)


def test_a_draw_for_each_epoch_of_a_stream_is_refused():
    with refused_as(
        r"draws once an epoch, which a stream has not; .* every=1000",
        None,
        r"draws once an epoch, which data.streaming=true has not; .* mapping.every=1000",
    ):
        moving_map("random").check_training(sharded=False, streaming=True)
    for one in (moving_map("random", every=5), *map(moving_map, RULES[1:])):
        one.check_training(sharded=False, streaming=True)


def test_a_checkpoint_of_another_map_is_refused(tmp_path):
    small_trainer(moving_distiller(moving_map("emd")), tmp_path, save_strategy="epoch", num_train_epochs=1).train()
    other = small_trainer(moving_distiller(moving_map("learned")), tmp_path)
    told = "checkpoint-6 was written with another {}; resume with the same"
    with refused_as(told.format("layer map"), None, told.format("mapping")):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))


def test_a_candidate_equals_the_plain_pair():
    assert moving_map("emd").pairs[1] == LayerPair(1, 1) and LayerPair(1, 1).projection == "1_to_1"
