"""The page of a comparison in a browser: laptop and phone, light and dark, sorted, with names that are markup."""

import json
from urllib.parse import unquote, urlparse

import pytest
from support.browser import chromium
from support.screens import NAMES, SCREENS, on_screen

from kdfeatures.runs.arms import Arm
from kdfeatures.runs.comparison import RunComparison
from kdfeatures.runs.differences import ArmDifference

HOSTILE = "<img src=x onerror=window.ran=1> a#b?c%20&amp;"
LONG = "recipe=tinybert_joint,mapping=explicit,student.layers=6,trainer.learning_rate=0.0001"
ARMS = {
    "hard": (0.8, 0.0),
    "logits": (0.79, -0.01),
    LONG: (0.9, 0.1),
    HOSTILE: (0.85, 0.05),
    "東京 القاهرة": (0.81, 0.01),
}


def comparison(folder):
    rows, arms = [], []
    for task in ("one", HOSTILE):
        for name, (mean, difference) in ARMS.items():
            seeds = [1, 2] if name != "logits" else [1]
            folders = {seed: folder / "runs" / f"{task.replace('/', '_')}-{name}" / f"seed-{seed}" for seed in seeds}
            for seed, path in folders.items():
                path.mkdir(parents=True)
                log = [{"step": 10 * n, "loss": 4 / n + seed, "loss/hidden": 3 / n} for n in range(1, 8)]
                (path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
            arms.append(Arm(name, task, {seed: {} for seed in seeds}, folders))
            rows.append(
                ArmDifference(
                    task=task,
                    arm=name,
                    metric="accuracy (validation)",
                    seeds=len(seeds),
                    mean=mean,
                    std=0.01 if len(seeds) > 1 else None,
                    retained=mean / 0.95,
                    is_baseline=name == "hard",
                    difference=difference,
                    low=difference - 0.02,
                    high=difference + 0.02,
                    shared_seeds=len(seeds),
                )  # fmt: skip
            )
    return RunComparison(tuple(rows), tuple(arms))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with chromium() as tab:
        folder = tmp_path_factory.mktemp("compared")
        comparison(folder).write(folder / "comparison")
        yield tab, folder / "comparison" / "report.html"


@pytest.fixture(params=SCREENS, ids=NAMES)
def screen(made, request):
    with on_screen(*made, request.param) as (page, _, _):
        yield page
    assert page.run("window.ran") is None


def column(page, number):
    return page.run(
        f"[...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[{number}].textContent)"
    )


def test_it_fits_can_be_read_and_runs_nothing(screen):
    assert screen.run("document.querySelectorAll('h2').length") == 2
    assert screen.run("document.querySelectorAll('h2')[1].textContent") == HOSTILE
    assert screen.run("document.querySelectorAll('img').length") == 0


def test_a_heading_sorts_its_column_and_once_more_the_other_way(screen):
    assert column(screen, 0) == list(ARMS)
    head = "document.querySelectorAll('table thead button')"
    screen.run(f"{head}[1].click()")
    ordered = column(screen, 1)
    assert ordered == ["90.0 ± 1.0", "85.0 ± 1.0", "81.0 ± 1.0", "80.0 ± 1.0", "79.0"]
    assert screen.run(f"{head}[1].parentElement.ariaSort") == "descending"
    screen.run(f"{head}[1].click()")
    assert column(screen, 1) == ordered[::-1]
    screen.run(f"{head}[0].click()")
    names = [name for name in column(screen, 0) if name.isascii() and name != HOSTILE]
    assert names == ["hard", "logits", LONG]
    assert screen.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_links_lead_to_the_folders_of_the_runs(screen, made):
    _, path = made
    targets = screen.run(
        "[...document.querySelectorAll('table')[1].querySelectorAll('a')].map((a) => [a.href, a.textContent])"
    )
    folders = [unquote(urlparse(href).path) for href, _ in targets]
    assert len(folders) == 9 and all((path.parent / folder).is_dir() for folder in folders)
    assert [text for _, text in targets][:3] == ["1", "2", "1"]


def test_intervals_name_the_baseline_and_every_other_arm(screen):
    caption = screen.run("document.querySelector('.intervals').textContent")
    assert "Difference to hard in points" in caption and "better than hard" in caption
    names = screen.run(
        "[...document.querySelectorAll('.intervals')[0].querySelectorAll('.who')].map((e) => e.textContent)"
    )
    assert names == [name for name in ARMS if name != "hard"] + [""]
    kinds = screen.run(
        "[...document.querySelectorAll('.intervals')[0].querySelectorAll('svg g')].map((g) => g.className.baseVal)"
    )
    assert kinds == ["within", "beyond", "beyond", "within"]
    inside = screen.run("""[...document.querySelectorAll('.interval svg g')].every((mark) => {
        const [inner, outer] = [mark, mark.ownerSVGElement].map((element) => element.getBoundingClientRect());
        return inner.left >= outer.left - 1 && inner.right <= outer.right + 1; })""")
    assert inside


def test_curves_show_each_term_and_a_button_hides_an_arm_in_all(screen):
    titles = screen.run(
        "[...document.querySelector('.curves').querySelectorAll('figcaption')].map((e) => e.textContent)"
    )
    assert titles == ["hidden", "all terms"]
    count = """[...document.querySelector('.curves').querySelectorAll('polyline')]
        .filter((line) => line.getClientRects().length).length"""
    assert screen.run(count) == 2 * 9
    screen.run("document.querySelectorAll('.curves')[0].querySelectorAll('.key button')[0].click()")
    assert screen.run(count) == 2 * 7
    assert screen.run("document.querySelectorAll('.curves')[0].querySelector('.key button').ariaPressed") == "false"
    screen.run("document.querySelectorAll('.curves')[0].querySelectorAll('.key button')[0].click()")
    assert screen.run(count) == 2 * 9


def test_without_runs_there_are_no_links_and_no_curves(tmp_path):
    rows = comparison(tmp_path / "made").rows
    RunComparison(rows).write(tmp_path / "bare")
    text = (tmp_path / "bare" / "report.html").read_text(encoding="utf-8")
    assert "<a " not in text and "<polyline" not in text and "Difference to hard" in text
