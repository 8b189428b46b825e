"""A student that begins as what was kept of the teacher, through whole runs."""

from kdfeatures.pipelines.rebuild_student import rebuilt

UNTRAINED = ["trainer.max_steps=1", "trainer.learning_rate=0.0"]
PRUNED = ["recipe=logits", "student.init=pruned", "student.init_examples=64"]


def test_a_student_of_all_sizes_answers_like_the_teacher_also_in_another_order_of_labels(workspace):
    for name, order in (("same_order", "[plain,relative]"), ("other_order", "[relative,plain]")):
        whole = workspace.distil(name, *PRUNED, *UNTRAINED, "student.layer_share=1.0", f"task.labels={order}")
        assert whole["student"]["metrics"]["validation"] == whole["teacher"]["metrics"]["validation"]
        assert whole["student"]["metrics"]["validation"]["accuracy"] > 0.9


def test_half_the_sizes_keep_most_of_the_teacher_before_any_step(workspace):
    sizes = ["student.layer_share=1.0", "student.hidden_size=16", "student.heads=2"]
    scores = {
        init: workspace.distil(f"narrow_{init}", *PRUNED, *UNTRAINED, *sizes, f"student.init={init}")["student"]
        for init in ("pruned", "random")
    }
    assert scores["pruned"]["hidden_size"] == 16
    accuracy = {init: entry["metrics"]["validation"]["accuracy"] for init, entry in scores.items()}
    assert accuracy["pruned"] > 0.85 > accuracy["random"]
    before = rebuilt(str(workspace.folder / "narrow_pruned"), str(workspace.teacher))
    assert before.model is None and "began as what was kept of the teacher" in before.note
