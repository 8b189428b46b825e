"""Faults put into the package on purpose, one at a time: each must fail a fast test.

    python tests/mutations.py            all of them, with a table
    python tests/mutations.py bootstrap  those whose file or text has this word
    python tests/mutations.py --check    only whether each still has its place in the source

Run by hand or weekly; docs/reliability.md has the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """file: below kdfeatures. old, new: a part of it, and what takes its place. tests: those that must notice."""

    file: str
    old: str
    new: str
    tests: str


M = Mutation
# ruff: noqa: E501 -- a table, with a line for each
MUTATIONS = [
    # losses
    M("losses/softened.py", "return self.temperature**2 * mean if", "return mean if", "losses/test_logits.py"),
    M("losses/logits.py", "return kl_rows(log_t, log_s)", "return kl_rows(log_s, log_t)", "losses/test_logits.py"),
    M("losses/softened.py", 'reduction="none", log_target=True).sum(1)', 'reduction="none", log_target=True).mean(1)', "losses/test_logits.py"),
    M("losses/softened.py", "if not LOWEST <= temperature <= HIGHEST:", "if False:", "trust/test_wrong_inputs.py"),
    M("losses/hidden.py", "return sequence_mean(squares / student.shape[-1], real)", "return sequence_mean(squares, real)", "losses"),
    M("losses/hidden.py", "return sequence_mean((normal_s - normal_t).square().mean(-1), real)", "return sequence_mean((normal_s - normal_t).abs().mean(-1), real)", "losses"),
    M("losses/divergences.py", "return (1 - self.beta) * kl_rows(log_s, log_m) + self.beta", "return self.beta * kl_rows(log_s, log_m) + self.beta", "losses"),
    M("losses/kernels/row_blocks.py", "share = (block.stop - block.start) / rows", "share = 1 / rows", "losses/test_vocabulary.py"),
    M("losses/vocabulary.py", "term.mean(student) * (_number(term, len(student)) / count)", "term.mean(student) * (len(student) / count)", "losses/test_vocabulary.py"),
    M("losses/vocabulary.py", "self.weight.addmm_(of_logits.mT, self.operands.states[chunk])", "self.weight.copy_(of_logits.mT @ self.operands.states[chunk])", "losses/test_vocabulary.py"),
    M("capture/decoder.py", "return bool((logits - expected).norm() <= tolerance * expected.norm())", "return True", "capture/test_decoder.py"),
    M("losses/dkd.py", "self.target_weight * kl_rows(binary_t, binary_s) + self.other_weight", "self.target_weight * kl_rows(binary_t, binary_s) + self.target_weight", "losses"),
    M("losses/relation.py", 'return relation_kl(student.relation("value"), teacher.relation("value"), mask)', 'return relation_kl(student.relation("key"), teacher.relation("key"), mask)', "losses"),
    M("losses/attention.py", "return score_mse(student.attention, teacher.attention, mask, allowed=allowed, centered=self.centered)", "return score_mse(student.attention, teacher.attention, None, allowed=allowed, centered=self.centered)", "losses"),
    M("losses/dist.py", "if classes > 2:", "if classes > 1:", "losses"),
    M("losses/dist.py", "a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)", "a, b = a, b", "losses"),
    M("losses/procrustes.py", "aligned = torch.linalg.svdvals(t.mT @ s).sum()", "aligned = torch.linalg.svdvals(t.mT @ s).max()", "losses"),
    M("losses/contextual.py", "near = real[:, at] & inside & real[..., None]", "near = real[:, at] & real[..., None]", "losses"),
    M("losses/contextual.py", "turned.square()", "turned.abs()", "losses"),
    M("training/task_filters.py", "with torch.no_grad():", "with torch.enable_grad():", "training/test_task_filters.py"),
    M("masking.py", "return mask.bool()", "return torch.ones_like(mask, dtype=torch.bool)", "test_masking.py"),
    M("masking.py", "return means.sum() / (counts > 0).sum().clamp(min=1)", "return means.mean()", "test_masking.py"),
    M("masking.py", "return zero_padding_(blank.copy_(states), real)", "return blank.copy_(states) * _by_row(real, states)", "test_masking.py"),
    # maps, heads, schedules, balance
    M("mapping/rules.py", "return (2 * m * teacher_layers + student_layers) // (2 * student_layers)", "return m * teacher_layers // student_layers", "mapping"),
    M("mapping/rules.py", "LayerPair(m, m + offset)", "LayerPair(m, m)", "mapping"),
    M("alignment/hungarian.py", "bias = None if states.bias is None else states.bias[:, order]", "bias = states.bias", "alignment"),
    M("alignment/task_aware.py", "self.teacher.requires_grad_(False)", "self.teacher.requires_grad_(True)", "alignment/test_task_aware.py"),
    M("distillation/schedules.py", "return self.start + (self.end - self.start) * progress", "return self.end + (self.start - self.end) * progress", "distillation/test_schedules.py"),
    M("distillation/balancing.py", "weight = shares[name] / sum(shares.values()) * whole / self.norms[name]", "weight = shares[name] / sum(shares.values()) * whole", "distillation/test_balancing.py"),
    M("distillation/controls.py", "return torch.take_along_dim(states.roll(1, 0), source.view(shape), dim=dim)", "return torch.take_along_dim(states, source.view(shape), dim=dim)", "distillation"),
    M("distillation/teacher_outputs.py", "return logits if columns is None else logits[..., columns]", "return logits", "training/test_modes.py"),
    # metrics and intervals
    M("evaluation/bootstrap.py", "metric(a[run, rows], truth) - metric(b[run, rows], truth)", "metric(a[run, rows], truth) - metric(b[run], labels)", "evaluation/test_bootstrap.py"),
    M("evaluation/bootstrap.py", "[(1 - level) / 2, (1 + level) / 2]", "[1 - level, level]", "evaluation/test_bootstrap.py"),
    M("evaluation/ranking.py", "positives * (positives + 1) / 2", "positives * positives / 2", "evaluation"),
    M("evaluation/span_f1.py", "return 2 * shared / (len(words) + len(reference))", "return shared / len(words)", "evaluation"),
    M("tasks/label_order.py", "return [position[label] for label in labels]", "return list(range(len(labels)))", "tasks"),
    M("embeddings/pooling.py", "weights = real * real.cumsum(1)", "weights = real", "embeddings"),
    # training
    M("evaluation/validation.py", "return None if arrays is None else arrays[places]", "return arrays", "evaluation/test_validation.py"),
    M("training/length_batched.py", "return scores.answers if step == self._evaluated_at else None", "return scores.answers", "pipelines/test_trained_answers.py"),
    M("cli/endings.py", "    threads._shutdown()\n", "", "cli/test_endings.py"),
    M("training/length_batched.py", "return result * self.batch_weight(inputs)", "return result", "training/test_token_budget.py training/test_length_batched.py"),
    M("training/length_batched.py", "            seal(folder)\n", "", "trust/test_damaged_runs.py"),
    M("training/length_batched.py", "            shutil.rmtree(folder)\n", "            pass\n", "trust/test_damaged_runs.py"),
    M("training/length_batched.py", "self.trainer._tr_loss += before[\"since\"]", "pass", "trust/test_damaged_runs.py"),
    M("files.py", "fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", "test_files.py"),
    M("models/load.py", "if asked > held + HEADS:", "if False:", "models/test_load.py"),
    M("tasks/task.py", "        check_fact_types(config)\n", "", "trust/test_wrong_inputs.py"),
    M("training/length_batched.py", "if self.is_fsdp_enabled or not is_end:", "if True:", "trust/test_damaged_runs.py"),
    M("training/length_batched.py", "            self._seconds_before = progress[\"seconds\"]\n", "", "trust/test_damaged_runs.py"),
    M("training/finite.py", "if bool(loss.isfinite()):", "if True:", "training/test_finite.py"),
    M("distillation/distiller.py", "self._run(self.student, self._student_recorder, sink", "self._run(self.student.eval(), self._student_recorder, sink", "training/test_modes.py"),
    # mixed texts
    M("capture/mixing.py", "or self._layers_called > 1:", "or False:", "capture/test_mixing.py"),
    M("distillation/mixup/batches.py", "torch.maximum(inputs[MASK], inputs[MASK].flip(0))", "inputs[MASK]", "distillation/mixup/test_mixed_distiller.py"),
    M("distillation/mixup/consistency.py", "None if mask is None else mask.flip(0)", "mask", "distillation/mixup/test_consistency.py"),
    M("distillation/mixup/settings.py", "return max(drawn, 1 - drawn)", "return drawn", "distillation/mixup/test_settings.py"),
    # what is kept on disk
    M("cache/key.py", "        **of_vectors,\n", "", "cache/test_key.py"),
    M("cache/answers.py", 'identity(model, tokenizer, "float32")]', '{}]', "cache/test_answers.py"),
    M("tokenization/rows_hash.py", "parts.append(hash_of(sink.getvalue().to_pybytes()))", "pass", "tokenization/test_rows_hash.py"),
    M("files.py", "path = file.with_name(f\".{file.name}.{uuid.uuid4().hex}\")", "path = file", "test_files.py"),
    M("checksums.py", "if checksum(file) != expected:", "if False:", "test_checksums.py"),
    M("runs/folder.py", "    flaw = checksums.flaw(folder, results.get(\"files\") or {})", "    flaw = None", "trust/test_damaged_runs.py"),
    M("runs/folder.py", "        return checksums.flaw(checkpoint)\n", "        return None\n", "trust/test_damaged_runs.py"),
    M("tasks/mlm_masking.py", "share, seed=seed, rows=False)", "share, seed=SCORED, rows=False)", "tasks/kinds/test_masked_lm.py"),
    M("distillation/teacher_outputs.py", "VocabularyLogits(states.to(decoder.weight.dtype), decoder.weight, decoder.bias)", "VocabularyLogits(states.to(decoder.weight.dtype), decoder.weight, None)", "cache/test_decoder_states.py"),
    M("cache/shards.py", "    if link is not None:\n", "    if False:\n", "cache/test_shards.py"),
    M("cache/arrays.py", "!= checksum:\n        raise BrokenFile(f\"{path} does not match its checksum\")", "is None:\n        raise BrokenFile(f\"{path} does not match its checksum\")", "cache/test_arrays.py"),
    # trust
    M("config/instantiate.py", "    for target in _targets(node):\n        _check_allowed(target, option, kind, allow_targets)\n", "", "config/test_instantiate.py"),
    M("config/instantiate.py", "(package != OURS and package in allow_targets)", "package in allow_targets", "config/test_instantiate.py"),
    M("config/compose.py", "    if allow_targets and not given:\n", "    if False:\n", "config/test_compose.py"),
    M("cli/trust.py", "    if NODE not in allow:\n", "    if False:\n", "trust/test_strangers_files.py"),
    M("pipelines/rebuild_student.py", "\"allow_targets\": list(allow_targets)}", "}", "trust/test_strangers_files.py"),
    M("pages/shell.py", ".replace(\"<\", \"\\\\u003c\")", "", "trust/test_hostile_texts.py"),
    M("pages/shell.py", "    return escape(harmless(value))", "    return harmless(value)", "trust/test_hostile_texts.py"),
    M("runs/results.py", "return harmless(\" \".join(text.split())).replace(\"|\", \"\\\\|\")", "return harmless(\" \".join(text.split()))", "trust/test_hostile_texts.py"),
]  # fmt: skip


def misplaced() -> list[str]:
    """Return the mutations whose text is not in its file just once."""
    counts = [(ROOT / "kdfeatures" / m.file).read_text(encoding="utf-8").count(m.old) for m in MUTATIONS]
    return [f"{m.file}: {m.old!r} is there {n} times" for m, n in zip(MUTATIONS, counts, strict=True) if n != 1]


def caught_by(mutation: Mutation, tree: Path) -> str | None:
    """Return the first test that fails with the mutation; None when it survives."""
    file = tree / "kdfeatures" / mutation.file
    source = file.read_text(encoding="utf-8")
    file.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    tests = [str(tree / "tests" / part) for part in mutation.tests.split()]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    finally:
        file.write_text(source, encoding="utf-8")
    failed = [line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" - ")[0] if failed else None


def main(words: list[str]) -> None:
    lost = misplaced()
    if lost or "--check" in words:
        print("\n".join(lost) or f"{len(MUTATIONS)} mutations have their place.")
        sys.exit(bool(lost))
    chosen = [m for m in MUTATIONS if not words or any(word in m.file + m.old for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "outputs", "demo")
        shutil.copytree(ROOT, tree, ignore=ignored)
        print("| file | what is altered | caught by |\n|---|---|---|")
        for mutation in chosen:
            start = time.monotonic()
            test = caught_by(mutation, tree)
            survived += test is None
            altered = mutation.old.strip().splitlines()[0][:60].replace("|", "\\|")
            name = "**survived**" if test is None else test.removeprefix("tests/").partition("[")[0]
            print(f"| {mutation.file} | `{altered}` | {name} |", flush=True)
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} caught.")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main(sys.argv[1:])
