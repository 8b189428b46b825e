"""kdfeatures inspect: what it writes, for which tasks, and what it refuses."""

import dataclasses
import json
import re

import pytest
import yaml
from support.inspected import inspect_call, save_encoders
from support.shared_data import ROOT
from support.tagged import TAGS, sentences, write_sentences

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_encoders(tmp_path_factory.mktemp("inspect"))


def inspect(folder, name, *overrides):
    main(inspect_call(folder, name, *overrides))
    return json.loads((folder / name / "results.json").read_text()), folder / name


def data_of(page):
    text = (page / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_it_compares_all_layers_and_the_heads_of_mapped_ones_also_where_their_counts_differ(folder):
    results, page = inspect(folder, "one", f"before.path={folder / 'before'}", "inspect.texts=[the dog slept]")
    assert [len(row) for row in results["layers"]["similarity"]] == [5, 5, 5]
    assert results["layers"]["before"] != results["layers"]["similarity"]
    assert set(results["heads"]) == {"divergence", "cka"}
    own = results["heads"]["divergence"]
    assert set(own) == {"1-2", "2-4"}
    assert [pair["student"] for pair in own["1-2"]["pairs"]] == [0, 1]
    assert len(own["1-2"]["unmatched_teacher"]) == 2 and own["1-2"]["unmatched_student"] == []
    assert {"similarity", "margin", "null", "before_teacher", "before_similarity"} <= set(own["1-2"]["pairs"][0])
    assert {path.name for path in page.glob("*.png")} == {
        "layers.png",
        *(f"heads_{measure}_{pair}.png" for measure in results["heads"] for pair in ("1_2", "2_4")),
    }


def test_the_page_holds_what_it_shows_and_asks_for_nothing(folder):
    results, page = inspect(folder, "alone", "before.path=null", "inspect.measures=[cka]", "inspect.texts=['<b> & @@']")
    text = (page / "index.html").read_text(encoding="utf-8")
    assert not re.search(
        r"https?://|(src|href)=\"(?!data:)|@@", re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL)
    )
    data = data_of(page)
    assert data["before"] is False and [measure["name"] for measure in data["measures"]] == ["cka"]
    assert len(data["sentences"]) == 3
    assert all(len(maps) == 3 for side in ("teacher", "student") for maps in data["maps"][side].values())
    assert data["heads"]["cka"]["2-4"]["pairs"] == results["heads"]["cka"]["2-4"]["pairs"]


def test_the_pairs_are_those_of_the_map_and_a_finished_inspection_is_not_done_again(folder, capsys):
    measures = "inspect.measures=[divergence,correlation,cka]"
    options = ["mapping=explicit", "mapping.pairs=[[0,0],[2,3]]", measures]
    results, page = inspect(folder, "done", *options)
    assert {name: set(pairs) for name, pairs in results["heads"].items()} == dict.fromkeys(
        ("divergence", "correlation", "cka"), {"2-3"}
    )
    (page / "index.html").unlink()
    again, _ = inspect(folder, "done", *options, "existing=resume")
    assert again == results and not (page / "index.html").exists()
    with pytest.raises(SystemExit):
        inspect(folder, "done", "existing=resume")
    assert "holds a finished run with inspect.measures=['divergence', 'correlation', 'cka']" in capsys.readouterr().err
    inspect(folder, "done", "existing=overwrite", "mapping=final", "inspect.measures=[cka]")
    assert [path.name for path in page.glob("heads_*.png")] == ["heads_cka_2_4.png"]
    with pytest.raises(SystemExit):
        inspect(folder, "done")
    assert "already holds a run (results.json)" in capsys.readouterr().err


def test_examples_and_texts_of_the_reader_are_shown_as_written(folder):
    pairs = [(f"The Dog number {n} slept", f"A CAT slept {n}") for n in range(12)]
    lines = "".join(f"{one},{two},{n % 2}\n" for n, (one, two) in enumerate(pairs))
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text(f"one,two,label\n{lines}")
    task = ["task=files", "task.name=mine", "task.text=[one,two]", "task.label=label", "task.labels=[0,1]",
            "task.metrics=[accuracy]", "task.files.train=train.csv", "task.files.validation=validation.csv",
            f"data.path={folder}"]  # fmt: skip
    own = "inspect.texts=['The Cats SLEPT',[Is it,It IS]]"
    _, page = inspect(folder, "written", *task, "mapping=final", "inspect.measures=[divergence]", own)
    texts = [sentence["texts"] for sentence in data_of(page)["sentences"]]
    assert texts[:2] == [["The Cats SLEPT"], ["Is it", "It IS"]]
    assert len(texts) == 4 and all(tuple(text) in pairs for text in texts[2:])
    _, page = inspect(folder, "cut", *task, "mapping=final", "inspect.measures=[divergence]", "data.max_length=10")
    assert all(
        tuple(sentence["texts"]) not in pairs for sentence in data_of(page)["sentences"]
    )  # what was read of them


def test_words_with_labels_and_text_without_can_be_inspected_too(folder):
    write_sentences(folder / "validation.jsonl", sentences(20, 1))
    (folder / "corpus.txt").write_text("\n".join(["ada met grace in bath", "the garden slept near york"] * 6))
    models = [f"{side}.path={folder / 'words'}" for side in ("teacher", "student")]
    models += ["inspect.measures=[divergence]", "mapping=final"]
    tagged = ["task=token_files", "task.name=names", "task.text=[tokens]", "task.label=tags",
              f"task.labels=[{','.join(TAGS)}]", "task.metrics=[accuracy]", "task.files.train=validation.jsonl",
              "task.files.validation=validation.jsonl", f"data.path={folder}"]  # fmt: skip
    results, page = inspect(folder, "tagged", *tagged, *models)
    assert results["heads"]["divergence"]["2-2"]["matched"] == pytest.approx(1)
    results, page = inspect(folder, "text", "task=text", f"data.path={folder / 'corpus.txt'}", "split=train", *models)
    assert results["heads"]["divergence"]["2-2"]["matched"] == pytest.approx(1)
    shown = {tuple(sentence["texts"]) for sentence in data_of(page)["sentences"]}
    assert shown <= {("ada met grace in bath",), ("the garden slept near york",)}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["student.path=null"], "give student.path=FOLDER_OR_HUB_ID"),
        (["student.path={folder}/nowhere"], "no such folder"),
        (["before.path={folder}/words"], "has another tokenizer than the student"),
        (["student.path={folder}/words", "inspect.measures=[correlation]"], "set inspect.measures=[divergence,cka]"),
        (["student.path={folder}/short"], "has 8 positions, but an example has"),
        (["before.path={folder}/deep"], "has 3 layers, but the student has 2"),
        (["mapping=explicit", "mapping.pairs=[[1,9]]"], "student layer 1 with teacher layer 9, but the teacher has 4"),
        (["mapping=explicit", "mapping.pairs=[[0,0]]"], "nothing but the embeddings"),
        (["inspect.measures=[divergance]"], "holds divergance; did you mean 'divergence'?"),
        (["inspect.measures=[]"], "must name one measure or more"),
        (["inspect.examples=3"], "inspect.examples=3 must be at least 4"),
        (["inspect.batch_size=1"], "inspect.batch_size=1 must be at least 2"),
        (["inspect.examples=many"], "inspect.examples"),
        (["inspect.sentences=0"], "leave no sentence to show"),
        (["inspect.sentence_tokens=2"], "no example has at most inspect.sentence_tokens=2 tokens"),
        (["inspect.texts=[the,7]"], "holds 7 where a text, or a list of two, should be"),
        (["inspect.max_page_mib=0.1"], "more than inspect.max_page_mib=0.1; lower inspect.sentences"),
        (["split=nothing"], "has no split 'nothing'"),
        (["data.streaming=true", "task=text", "data.path=x"], "data.streaming=true has no use here"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(folder, overrides, told, capsys, monkeypatch):
    monkeypatch.setattr("kdfeatures.pipelines.inspect.measure", None)
    with pytest.raises(SystemExit, match="2"):
        inspect(folder, "refused", *(text.format(folder=folder) for text in overrides))
    said = capsys.readouterr().err.splitlines()[-1]  # after what transformers says of loading
    assert said.startswith("kdfeatures: error: ") and told in said


def test_the_keys_of_the_section_are_the_fields_of_its_class():
    content = yaml.safe_load((ROOT / "conf" / "inspect.yaml").read_text(encoding="utf-8"))
    assert set(content["inspect"]) == {field.name for field in dataclasses.fields(InspectSettings)}
