"""General distillation on text without labels, and what becomes of its students."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from support.launching import ended, torchrun
from support.tagged import FIRST, LAST, PLACE, pieces_tokenizer, sentences, write_sentences
from support.trained_answers import asked_again
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    MobileBertConfig,
    MobileBertForMaskedLM,
    pipeline,
)

from kdfeatures.cli.main import main

__all__ = ["asked_again"]

QUICK = ["trainer.disable_tqdm=true", "data.max_length=16", "trainer.per_device_train_batch_size=16",
         "trainer.learning_rate=3e-3"]  # fmt: skip


def lines(count, seed):
    """Texts with something to predict: a last name after each first name, a place after "near"."""
    rng = random.Random(seed)
    phrases = [f"{first} {last} met" for first, last in zip(FIRST, LAST, strict=True)]
    phrases += [f"near {place} in the garden" for place in PLACE]
    return [" . ".join(rng.choice(phrases) for _ in range(rng.randint(1, 4))) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with text, and a masked language model and a plain encoder with the same weights."""
    made = tmp_path_factory.mktemp("text")
    (made / "corpus").mkdir()
    (made / "corpus" / "a.txt").write_text("\n\n".join(lines(80, 0)), encoding="utf-8")
    rows = [json.dumps({"text": line, "other": 1}) for line in lines(60, 1)]
    (made / "corpus" / "b.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (made / "corpus" / "validation.txt").write_text("\n".join(lines(20, 2)), encoding="utf-8")
    words = pieces_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        num_hidden_layers=4,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.05,
    )
    BertForMaskedLM(config).save_pretrained(made / "fresh")
    words.save_pretrained(made / "fresh")
    main(["finetune", "task=text", f"data.path={made / 'corpus'}", f"model.path={made / 'fresh'}",
          f"output_dir={made / 'masked'}", *QUICK, "trainer.num_train_epochs=5"])  # fmt: skip
    BertModel.from_pretrained(made / "masked").save_pretrained(made / "encoder")
    words.save_pretrained(made / "encoder")
    return made


def distil(folder, name, *overrides, teacher="masked"):
    main(["distill", "task=text", f"data.path={folder / 'corpus'}", f"teacher.path={folder / teacher}",
          f"output_dir={folder / name}", *QUICK, "trainer.num_train_epochs=1", *overrides])  # fmt: skip
    return json.loads((folder / name / "results.json").read_text())


def refused(capsys, folder, *overrides, **options):
    with pytest.raises(SystemExit, match="2"):
        distil(folder, "refused", *overrides, **options)
    told = capsys.readouterr().err
    return told[told.index("kdfeatures: error:") :].strip()


def test_finetune_trains_a_masked_language_model(folder):
    results = json.loads((folder / "masked" / "results.json").read_text())
    scores = results["student"]["metrics"]["validation"]
    assert set(scores) == {"masked_accuracy", "perplexity"} and results["metric"] == "masked_accuracy"
    assert scores["masked_accuracy"] > 0.1 and 1 < scores["perplexity"] < 25
    assert results["labelled_examples"] == 0
    state = json.loads((folder / "masked" / "trainer_state.json").read_text())
    last = [entry for entry in state["log_history"] if "eval_perplexity" in entry][-1]
    assert last["eval_masked_accuracy"] == pytest.approx(scores["masked_accuracy"], abs=1e-6)
    assert last["eval_perplexity"] == pytest.approx(scores["perplexity"], rel=1e-5)
    assert pipeline("fill-mask", model=str(folder / "masked"))("ada [MASK] met")


def test_distilbert_learns_from_logits_masks_and_hidden_states(folder, asked_again):
    results = distil(folder, "distilbert", "recipe=distilbert", "student.layers=2", "student.layers_from=[2,4]",
                     "trainer.num_train_epochs=4")  # fmt: skip
    assert set(results["losses"]) == {"logits", "mlm", "cosine"}
    assert results["retained"] > 0.5 and asked_again == [["validation"]]
    assert results["student"]["metrics"]["validation"]["perplexity"] < 30  # of 40 tokens
    assert BertForMaskedLM.from_pretrained(folder / "distilbert").config.num_hidden_layers == 2
    assert "fill-mask" in (folder / "distilbert" / "README.md").read_text()


def test_evaluate_scores_a_student_on_the_same_masks(folder, tmp_path):
    main(["evaluate", "task=text", f"data.path={folder / 'corpus'}", f"model.path={folder / 'masked'}",
          "data.max_length=16", f"output_dir={tmp_path}"])  # fmt: skip
    found = json.loads((tmp_path / "results.json").read_text())["student"]["metrics"]["validation"]
    trained = json.loads((folder / "masked" / "results.json").read_text())["student"]["metrics"]["validation"]
    assert found == pytest.approx(trained, rel=1e-5)


@pytest.mark.parametrize("teacher", ["encoder", "masked"])
def test_terms_without_outputs_take_a_plain_encoder_and_score_nothing(folder, teacher):
    name = f"general_{teacher}"
    results = distil(folder, name, "recipe=tinybert_general", "student.layers=2", "student.init=random",
                     teacher=teacher)  # fmt: skip
    assert (results["metric"], results["retained"]) == (None, None)
    assert results["student"]["metrics"] == results["teacher"]["metrics"] == {}
    assert set(results["losses"]) == {"hidden", "attention"}
    assert type(AutoModel.from_pretrained(folder / name)).__name__ == "BertModel"
    assert not any("cls." in key for key in load_file(folder / name / "model.safetensors"))


@pytest.fixture(scope="module")
def task(folder):
    """The overrides of a task, for which folder/tagger is a teacher."""
    for split, count in (("train", 64), ("validation", 20)):
        write_sentences(folder / f"{split}.jsonl", sentences(count, count))
    made = ["task=token_files", "task.name=names", "task.text=[tokens]", "task.label=tags", "task.metrics=[accuracy]",
            "task.labels=[O,B-PER,I-PER,B-LOC,I-LOC]", "task.files.train=train.jsonl",
            "task.files.validation=validation.jsonl", f"data.path={folder}", *QUICK]  # fmt: skip
    main(["finetune", *made, f"model.path={folder / 'encoder'}", f"output_dir={folder / 'tagger'}"])
    return made


@pytest.mark.parametrize("recipe", ["tinybert_general", "distilbert"])
def test_a_student_of_text_is_the_start_of_a_task(folder, task, recipe):
    general, last = folder / f"start_{recipe}", folder / f"end_{recipe}"
    distil(folder, general.name, f"recipe={recipe}", "student.layers=2", "student.layers_from=null")
    main(["distill", *task, f"teacher.path={folder / 'tagger'}", f"student.path={general}", "recipe=logits",
          f"output_dir={last}", "trainer.max_steps=1", "trainer.learning_rate=0"])  # fmt: skip
    before, after = (load_file(path / "model.safetensors") for path in (general, last))
    before = {key.removeprefix("bert."): tensor for key, tensor in before.items()}
    for key in ("embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.weight"):
        assert torch.equal(after[f"bert.{key}"], before[key])


def test_the_first_stage_of_a_recipe_may_read_text(folder, task):
    main(["distill", *task, "recipe=minilmv2",
          f"teacher.path={folder / 'tagger'}", "+task@stages.relations.task=text",
          f"+stages.relations.data.path={folder / 'corpus'}", f"+stages.relations.teacher.path={folder / 'encoder'}",
          "stages.relations.losses.relations.relation_heads=4", "student.layers=2", f"output_dir={folder / 'staged'}",
          "trainer.num_train_epochs=1"])  # fmt: skip
    results = json.loads((folder / "staged" / "results.json").read_text())
    first, last = results["stages"]
    assert first["metrics"] == {} and set(last["metrics"]) == {"validation"}
    assert results["metric"] == "accuracy"
    stage = json.loads((folder / "staged" / "stages" / "1-relations" / "results.json").read_text())
    assert stage["task"] == "text" and stage["train_examples"] > 64


def test_a_stream_gives_the_run_its_length_by_max_steps(folder):
    results = distil(folder, "stream", "data.streaming=true", "recipe=distilbert", "student.layers=2",
                     "student.layers_from=null", "trainer.max_steps=30", "task.reading.shuffle=20")  # fmt: skip
    assert results["train_examples"] == 30 * 16
    assert results["student"]["metrics"]["validation"]["masked_accuracy"] > 0


@pytest.mark.parametrize("streaming", ["true", "false"])
@pytest.mark.slow
def test_a_resumed_run_ends_with_the_student_of_an_uninterrupted_one(folder, streaming):
    options = ["recipe=distilbert", "student.layers=2", "student.layers_from=null", f"data.streaming={streaming}",
               "trainer.save_strategy=steps", "+trainer.save_steps=2", "trainer.logging_steps=1",
               "trainer.lr_scheduler_type=constant", "trainer.warmup_steps=0"]  # fmt: skip
    found = {}
    for name, steps in ((f"whole_{streaming}", [4]), (f"resumed_{streaming}", [2, 4])):
        for number in steps:
            distil(folder, name, *options, f"trainer.max_steps={number}", "existing=resume")
            (folder / name / "results.json").rename(folder / name / f"results_{number}.json")
            (folder / name / "run.json").unlink()  # without its manifest it may be resumed for more steps
        found[name] = load_file(folder / name / "model.safetensors")
    one, other = found.values()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_a_plain_encoder_learns_from_the_cache_as_from_a_live_teacher(folder, tmp_path):
    options = ["recipe=tinybert_general", "student.layers=2"]
    live = distil(folder, "uncached", *options, teacher="encoder")
    kept = distil(folder, "cached", *options, "cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32",
                  teacher="encoder")  # fmt: skip
    for name, value in live["losses"].items():
        assert kept["losses"][name] == pytest.approx(value, rel=1e-3), name


ONCE = ["recipe=distilbert", "student.layers=2", "student.layers_from=null", "task.reading.masked_once=true"]


@pytest.fixture
def passes(monkeypatch):
    """The shapes of what the teacher, which has 4 layers, is given in forward passes."""
    shapes, plain = [], BertForMaskedLM.forward

    def counted(self, *args, **inputs):
        if self.config.num_hidden_layers == 4:
            shapes.append(tuple(inputs["input_ids"].shape))
        return plain(self, *args, **inputs)

    monkeypatch.setattr(BertForMaskedLM, "forward", counted)
    return shapes


def test_soft_answers_over_a_vocabulary_come_from_the_cache_as_from_a_live_teacher(folder, tmp_path, passes):
    cache = [f"cache.path={tmp_path}", "cache.dtype=float32"]
    given = ["task=text", f"data.path={folder / 'corpus'}", f"teacher.path={folder / 'masked'}", "data.max_length=16"]
    main(["cache", *given, *ONCE, *cache, f"output_dir={tmp_path / 'out'}"])
    assert len(passes) > 5
    passes.clear()
    kept = distil(folder, "once_cached", *ONCE, "cache=auto", *cache, "trainer.num_train_epochs=2")
    assert passes == [(1, 8)]  # whether the decoder makes the logits is tried on a few tokens, before anything runs
    live = distil(folder, "once_live", *ONCE, "trainer.num_train_epochs=2")
    assert set(live["losses"]) == {"logits", "mlm", "cosine"}
    for name, value in live["losses"].items():
        assert kept["losses"][name] == pytest.approx(value, rel=1e-4), name
    assert kept["labelled_examples"] == live["labelled_examples"] == 0
    of_teacher = [results["teacher"]["metrics"]["validation"] for results in (kept, live)]
    assert of_teacher[0] == pytest.approx(of_teacher[1], rel=1e-5)
    one, other = (load_file(folder / name / "model.safetensors") for name in ("once_cached", "once_live"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("change", ["seed=7", "task.reading.masked=0.3"])
def test_another_seed_or_share_fills_the_cache_anew(folder, tmp_path, passes, change):
    once = [*ONCE, "cache=auto", f"cache.path={tmp_path}", "trainer.max_steps=1"]
    counts = []
    for number, more in enumerate(([], [], [change])):
        passes.clear()
        distil(folder, f"anew_{change[:4]}_{number}", *once, *more)
        counts.append(len(passes))
    assert counts[1] == 1 < counts[2]  # the trial alone where all is there
    assert len({path.parent.name for path in tmp_path.rglob("identity.json")}) == 1


def test_a_stream_may_be_masked_once(folder):
    results = distil(folder, "stream_once", *ONCE, "data.streaming=true", "trainer.max_steps=4")
    assert set(results["losses"]) == {"logits", "mlm", "cosine"}


@pytest.mark.slow
def test_a_cached_run_that_is_resumed_ends_with_the_student_of_an_uninterrupted_one(folder, tmp_path):
    options = [*ONCE, "cache=auto", f"cache.path={tmp_path}", "trainer.save_strategy=steps", "+trainer.save_steps=2",
               "trainer.lr_scheduler_type=constant", "trainer.warmup_steps=0"]  # fmt: skip
    found = []
    for name, steps in (("whole_once", [4]), ("resumed_once", [2, 4])):
        for number in steps:
            distil(folder, name, *options, f"trainer.max_steps={number}", "existing=resume")
            (folder / name / "results.json").rename(folder / name / f"results_{number}.json")
            (folder / name / "run.json").unlink()
        found.append(load_file(folder / name / "model.safetensors"))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.slow
def test_two_processes_read_what_one_has_kept(folder, tmp_path):
    given = ["task=text", f"data.path={folder / 'corpus'}", f"teacher.path={folder / 'masked'}", *QUICK, *ONCE,
             f"cache.path={tmp_path / 'cache'}"]  # fmt: skip
    main(["cache", *given[:3], "data.max_length=16", *ONCE, given[-1], f"output_dir={tmp_path / 'out'}"])
    kept = sorted((tmp_path / "cache").rglob("decoder_states"))
    results, printed = tmp_path / "two", tmp_path / "printed.txt"
    arguments = ["distill", *given, "cache=auto", f"output_dir={results}", "trainer.max_steps=3"]
    run = torchrun(["--nproc_per_node=2", "--standalone"], arguments, printed)
    assert ended(run) == 0, printed.read_text()
    assert json.loads((results / "results.json").read_text())["processes"] == 2
    assert kept and sorted((tmp_path / "cache").rglob("decoder_states")) == kept


@pytest.mark.parametrize("command", ["distill", "cache"])
def test_a_cache_of_soft_answers_is_refused_where_the_head_is_no_linear_layer(folder, tmp_path, capsys, command):
    words = pieces_tokenizer()
    MobileBertForMaskedLM(
        MobileBertConfig(
            vocab_size=len(words), hidden_size=32, embedding_size=16, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=32, true_hidden_size=16, intra_bottleneck_size=16, max_position_embeddings=24,
        )
    ).save_pretrained(tmp_path / "mobile")  # fmt: skip
    words.save_pretrained(tmp_path / "mobile")
    given = ["task=text", f"data.path={folder / 'corpus'}", f"teacher.path={tmp_path / 'mobile'}", *ONCE,
             "data.max_length=16", f"cache.path={tmp_path / 'cache'}", f"output_dir={tmp_path / 'out'}"]  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        main([command, *given, *(["cache=auto"] if command == "distill" else [])])
    said = capsys.readouterr().err
    line = said[said.index("kdfeatures: error:") :].strip()
    assert "'mobilebert', is another; use cache=off" in line and "\n" not in line
    assert not list(tmp_path.rglob("decoder_states"))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["recipe=distilbert", "student.layers_from=null", "cache=auto"], "set task.reading.masked_once=true"),
        ([*ONCE, "cache=auto", "data.streaming=true", "trainer.max_steps=2"], "which a stream cannot; use cache=off"),
        (["recipe=tinybert_general", "data.streaming=true"], "set trainer.max_steps"),
        (["recipe=tinybert_general", "data.labelled=3"], "data.labelled=3 has no effect on task 'text'"),
        (["recipe=tinybert_general", "trainer.load_best_model_at_end=true"], "needs scores, but no term reads"),
        (["recipe=tinybert_general", "data.max_length=64"], "has 24 positions"),
        (["recipe=tinybert_general", "data.streaming=true", "trainer.max_steps=2", "data.max_length=64"], "has 24 pos"),
        (["recipe=tinybert_general", "augmentation=tinybert"], "is of kind text; use augmentation=off"),
    ],
)
def test_what_text_cannot_do_is_told_in_one_line(folder, capsys, overrides, told):
    line = refused(capsys, folder, *overrides)
    assert told in line and "\n" not in line


def test_a_teacher_without_a_head_is_refused_where_outputs_are_read(folder, capsys):
    line = refused(
        capsys, folder, "recipe=distilbert", "student.layers_from=null", "student.layers=2", teacher="encoder"
    )
    assert "has no masked-language-model head" in line and "recipe=tinybert_general" in line


def test_a_stream_is_for_text_only(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["distill", "data.streaming=true", "trainer.max_steps=1"])
    assert "task 'agreement' has labels; leave it out" in capsys.readouterr().err
