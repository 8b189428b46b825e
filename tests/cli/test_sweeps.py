"""Sweeps: Hydra's own, and by sweepers that choose values as they go and want to know what came of them."""

import importlib
import json
import sys
import types

import pytest
from support.calls import checked
from support.tiny import model_entry

from kdfeatures.cli.main import main
from kdfeatures.errors import Diverged, UserError

CLIMBING = ["-m", "hydra/sweeper=climbing"]
RATE = "trainer.learning_rate=interval(1e-5,1e-3)"


@pytest.fixture(autouse=True)
def _sampler(monkeypatch):
    """The module of the sampler that the sweeper brings along, which is no plugin itself."""
    module = types.ModuleType("hydra_climber")
    module.Climber = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "hydra_climber", module)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Let a run of finetune score its learning rate, and refuse the seed 13; return the configs that were run."""
    monkeypatch.chdir(tmp_path)
    configs = []

    def run(cfg, folder):
        configs.append(cfg)
        if (folder / "results.json").exists():
            raise UserError("already holds a run")
        if cfg.seed == 13:
            raise Diverged("the loss is not finite")
        student = model_entry(metrics={"validation": {"accuracy": 100 * cfg.trainer.learning_rate}})
        results = {"command": "finetune", "task": "agreement", "recipe": None, "retained": None, "split": "validation",
                   "metric": "accuracy", "seed": cfg.seed, "student": student}  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
        return results

    monkeypatch.setattr("kdfeatures.cli.commands.finetune.run", run)
    return configs


def folders(study):
    return sorted(path.name for path in study.iterdir() if path.is_dir())


def test_a_sweeper_draws_from_an_interval_and_learns_the_score_of_each_trial(runs, tmp_path, capsys):
    main(["finetune", *CLIMBING, RATE, "seed=3", "output_dir=study"])
    assert [cfg.trainer.learning_rate for cfg in runs] == [1e-5, 1e-3, 1e-3, 1e-3]
    tried = json.loads((tmp_path / "study" / "tried.json").read_text())
    assert [value for _, value in tried] == pytest.approx([1e-3, 0.1, 0.1, 0.1])
    assert folders(tmp_path / "study") == [
        "trial=0,trainer.learning_rate=1e-05",
        *(f"trial={number},trainer.learning_rate=0.001" for number in (1, 2, 3)),
    ]
    assert "| trial=3,trainer.learning_rate=0.001 | agreement |" in capsys.readouterr().out


def test_the_study_goes_on_after_a_trial_that_fails_which_has_no_score(runs, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", *CLIMBING, "seed=choice(13,5)", "output_dir=study"])
    tried = json.loads((tmp_path / "study" / "tried.json").read_text())
    assert [value for _, value in tried] == [None, *[pytest.approx(0.1)] * 3]
    assert "the loss is not finite" in capsys.readouterr().err
    assert folders(tmp_path / "study") == ["trial=1,seed=5", "trial=2,seed=5", "trial=3,seed=5"]


def test_a_sweeper_that_can_make_nothing_of_failed_trials_ends_in_one_line(runs, monkeypatch, capsys):
    sweeper = importlib.import_module("hydra_plugins.climbing_sweeper")
    monkeypatch.setattr(sweeper, "max", lambda *_, **__: 1 / 0, raising=False)
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", *CLIMBING, "seed=choice(13,13)", "output_dir=study"])
    assert capsys.readouterr().err.splitlines()[-1] == "kdfeatures: error: the sweep ended early: division by zero"


@pytest.fixture
def varied(tmp_path):
    """Overrides by which a file varies the seed in the sweeper's own node."""
    file = tmp_path / "mine" / "experiment" / "seeds.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nhydra: {sweeper: {params: {seed: 'choice(1,2)'}}}\n")
    return ["--config-dir", str(tmp_path / "mine"), "experiment=seeds", "allow_targets=[hydra]"]


def test_options_may_be_varied_in_the_node_of_a_sweeper(runs, varied, tmp_path):
    main(["finetune", *CLIMBING, *varied, "output_dir=study"])
    assert folders(tmp_path / "study") == ["trial=0,seed=1", "trial=1,seed=2", "trial=2,seed=1", "trial=3,seed=1"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer.learning_rate=interval(-1,1)", r"trainer.learning_rate=-1.0 must be at least 0"),
        ("trainer.learning_rate=choice(1e-4,fast)", "trainer.learning_rate: Value 'fast'"),
        (
            "trainer.learning_rat=interval(1e-5,1e-3)",
            "unknown option trainer.learning_rat; did you mean 'learning_rate'",
        ),
        ("task=choice(agreement,entailmnt)", "unknown task 'entailmnt'; did you mean 'entailment'"),
        ("hydra.sweeper.direction=minimize", "hydra.sweeper.direction=minimize looks for the lowest score"),
        ("hydra.sweeper.climber._target_=os.system", "_target_=os.system is not Hydra's own"),
        ("+hydra.sweeper.custom_search_space=os.system", "custom_search_space=os.system is not Hydra's own"),
    ],
)
def test_what_a_trial_would_be_refused_for_is_told_before_the_first(tmp_path, override, told):
    with pytest.raises(UserError, match=told):
        checked("finetune", *CLIMBING, override, f"output_dir={tmp_path / 'study'}")
    assert not (tmp_path / "study").exists()


def test_hydras_own_sweeper_has_no_interval(tmp_path):
    with pytest.raises(UserError, match=r"^trainer.learning_rate=interval\(1e-5,1e-3\) names no values to try"):
        checked("finetune", "-m", RATE, f"output_dir={tmp_path / 'study'}")


@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        (["-m", "seed=1,2", "split=validation"], [["seed=1", "split=validation"], ["seed=2", "split=validation"]]),
        (["hydra.mode=MULTIRUN", "seed=range(1,3)"], [["seed=1"], ["seed=2"]]),
        (["-m", "seed=1", "seed=2,3"], [["seed=2"], ["seed=3"]]),
    ],
)
def test_the_jobs_that_hydra_will_run_are_checked(line, jobs, tmp_path):
    sweep = checked("finetune", *line, f"output_dir={tmp_path / 'out'}").sweep
    assert [[text for text in job if text.split("=")[0] in ("seed", "split")] for job in sweep.jobs] == jobs
    assert sweep.is_whole


def test_the_node_of_hydras_own_sweeper_is_read_too(varied, tmp_path):
    sweep = checked("finetune", "-m", *varied, f"output_dir={tmp_path / 'out'}").sweep
    assert [job[0] for job in sweep.jobs] == ["seed=1", "seed=2"]


def test_folders_are_named_as_the_user_says(runs, tmp_path):
    main(["finetune", "-m", "seed=1,2", "output_dir=a", "hydra.job.config.override_dirname.exclude_keys=[]"])
    main(["finetune", "-m", "seed=1,2", "output_dir=b", "hydra.sweep.subdir='${hydra:job.num}'"])
    main(["finetune", "-m", "seed=1,2", "output_dir=c", "split=validation"])
    assert [folders(tmp_path / name) for name in "abc"] == [
        ["output_dir=a,seed=1", "output_dir=a,seed=2"],
        ["0", "1"],
        ["seed=1", "seed=2"],
    ]


def test_configs_of_a_sweep_are_shown_job_by_job(capsys, tmp_path):
    line = [
        "finetune",
        "-m",
        "seed=1,2",
        "split=test",
        "--cfg",
        "job",
        "--package",
        "seed",
        f"output_dir={tmp_path / 'out'}",
    ]
    main(line)
    assert [text for text in capsys.readouterr().out.splitlines() if "#" not in text] == ["1", "---", "2"]
    with pytest.raises(UserError, match="--cfg cannot show jobs that a sweeper chooses"):
        checked("finetune", *CLIMBING, "seed=choice(1,2)", "--cfg", "job")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_optunas_sweeper_finds_the_larger_score(runs, tmp_path):
    """It asks for optuna below 3 when it is installed, and works with later ones (docs/search.md)."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install --no-deps hydra-optuna-sweeper")
    options = ["hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1"]
    line = ["finetune", "-m", "hydra/sweeper=optuna", *options, "seed=choice(1,2)", RATE, "output_dir=study"]
    with pytest.raises(SystemExit, match="2"):
        main(line)  # it looks for the lowest unless it is told
    assert runs == []
    main([*line, "hydra.sweeper.direction=maximize"])
    rates = [cfg.trainer.learning_rate for cfg in runs]
    found = (tmp_path / "study" / "optimization_results.yaml").read_text()
    assert len(set(rates)) == 12 and len(folders(tmp_path / "study")) == 12
    assert f"best_value: {100 * max(rates)}" in found
