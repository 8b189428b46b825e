import json

import pytest
from datasets import Dataset

from kdfeatures.cli.main import main

CARD = """---
configs:
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
  - {split: validation, path: sst2/validation-*}
---
"""


@pytest.mark.parametrize("revision", [None, "v1"])
def test_results_name_the_commits_that_were_read(workspace, hub, tmp_path, revision):
    of_teacher = hub.add("org/teacher", workspace.teacher, revision or "main")
    glue = tmp_path / "glue"
    for split in ("train", "validation"):
        rows = Dataset.from_csv(str(workspace.folder / f"{split}.csv"), cache_dir=str(tmp_path / "csv"))
        rows.to_parquet(glue / "sst2" / f"{split}-00000-of-00001.parquet")
    (glue / "README.md").write_text(CARD)
    of_data = hub.add("nyu-mll/glue", glue, revision or "main", kind="datasets")
    main([
        "distill", "task=sst2", "task.labels=[plain,relative]", "teacher.path=org/teacher", "student.layers=1",
        "recipe=logits", "trainer.max_steps=1", f"output_dir={tmp_path / 'out'}",
        *(f"{section}.revision={revision}" for section in ("teacher", "data") if revision),
    ])  # fmt: skip
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    at = f"@{revision}" if revision else ""
    assert results["commits"] == {f"org/teacher{at}": of_teacher, f"datasets/nyu-mll/glue{at}": of_data}
