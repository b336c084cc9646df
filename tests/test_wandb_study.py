"""The study in W&B: views, the paper as a report, sweeps, records that are read back."""

import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType, SimpleNamespace

import made_up
import pytest
import yaml
from conftest import ROOT, config, options

from bnstudy import claims
from bnstudy.figures import discover, style
from bnstudy.measures.summary import single_numbers
from bnstudy.measures.train import final_accuracy
from bnstudy.record import Line, dumps
from bnstudy.results import load_run, load_runs
from bnstudy.wandb_mirror import View, check_settings, run_id, run_name
from bnstudy.wandb_records import download

Script = Callable[[str], ModuleType]


@pytest.fixture
def script() -> Script:
    """Imports a command by its name."""
    return lambda name: import_module(f"bnstudy.app.{name}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up runs of all experiments, which tests share."""
    root = tmp_path_factory.mktemp("runs")
    made_up.write_runs(root, seeds=(0, 1))
    return root


@pytest.fixture
def runs(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of these runs, where scripts look for them."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "results" / "runs" / "demo"
    root.mkdir(parents=True)
    for experiment in written.iterdir():
        (root / experiment.name).symlink_to(experiment)
    return root


@pytest.fixture
def workspaces() -> None:
    """Skips a test where wandb-workspaces is not installed; it warns at its import."""
    with warnings.catch_warnings(action="ignore"):
        pytest.importorskip("wandb_workspaces.workspaces", reason="no extra [dashboard]")


# One run, one id


def test_an_infinite_option_has_one_id_before_and_after_it_is_written():
    header = made_up.make_header("vgg", "linf", 0.1, 0)
    header["config"]["norm"]["p"] = math.inf
    assert run_id(header) == run_id(json.loads(dumps(header)))


def test_a_name_begins_with_norm_lr_and_seed():
    header = made_up.make_header("vgg", "batch", 1e-6, 3)
    folder = Path("vgg_batch_xavier_uniform_lr1e-06_seed3_batch_size=8_model.depth=11")
    name = "batch lr1e-06 seed3 vgg xavier_uniform batch_size=8_model.depth=11"
    assert run_name(folder, header) == name
    assert run_name(Path("elsewhere"), header) == "elsewhere"


# W&B's variables


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODE", "PROJECT", "ENTITY", "DIR", "SWEEP_ID", "RUN_ID", "TAGS", "DISABLED"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


@pytest.mark.usefixtures("no_variables")
def test_an_override_comes_before_a_variable_and_a_variable_before_the_default(monkeypatch):
    keys = {"mode": "disabled", "project": "mine", "entity": "us", "dir": "/elsewhere"}
    before = config().wandb
    assert {key: before[key] for key in keys} == {
        "mode": "offline",
        "project": "bnstudy",
        "entity": None,
        "dir": None,
    }
    for key, value in keys.items():
        monkeypatch.setenv(f"WANDB_{key.upper()}", value)
    assert {key: config().wandb[key] for key in keys} == keys
    assert config("wandb.project=other").wandb.project == "other"


REFUSED = {
    "WANDB_TAGS": "x" * 70,
    "WANDB_BASE_URL": "nowhere",
    "WANDB_CONSOLE": "yes",
    "WANDB_SILENT": "maybe",
    "WANDB_RUN_ID": "a/b",
    "WANDB_RESUME": "perhaps",
    "WANDB_INIT_TIMEOUT": "soon",
    "WANDB_HTTP_TIMEOUT": "x",
    "WANDB_LAUNCH": "maybe",
    "WANDB_DISABLED": "true",
}


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize("name", REFUSED)
def test_a_variable_that_wandb_cannot_use_is_refused_by_name(monkeypatch, name):
    monkeypatch.setenv(name, REFUSED[name])
    with pytest.raises(ValueError, match=name) as refused:
        check_settings("offline", "bnstudy")
    assert len(str(refused.value).splitlines()) == 1
    check_settings("disabled", "bnstudy")
    check_settings("offline", "bnstudy", fallback="disabled")


@pytest.mark.usefixtures("no_variables")
def test_empty_variables_count_as_not_set_and_unused_ones_are_named(monkeypatch, capsys):
    for name in REFUSED:
        monkeypatch.setenv(name, "")
    check_settings("offline", "bnstudy")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("WANDB_NAME", "mine")
    check_settings("offline", "bnstudy")
    assert capsys.readouterr().err.startswith("W&B: WANDB_NAME without effect; ")


@pytest.mark.usefixtures("no_variables")
def test_a_project_entity_or_folder_that_wandb_cannot_use_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="wandb.project=team/mine"):
        check_settings("offline", "team/mine")
    monkeypatch.setenv("WANDB_PROJECT", "team/mine")
    with pytest.raises(ValueError, match="WANDB_PROJECT=team/mine"):
        check_settings("offline", "team/mine")
    check_settings("offline", "other")  # an override comes before the variable
    with pytest.raises(ValueError, match="wandb.entity=a/b"):
        check_settings("offline", "bnstudy", entity="a/b")
    with pytest.raises(ValueError, match="wandb.artifact=maybe"):
        check_settings("offline", "bnstudy", artifact="maybe")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="wandb.dir="):
        check_settings("offline", "bnstudy", dir=str(tmp_path / "file" / "x"))


def test_the_command_refuses_a_variable_and_leaves_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CONSOLE", "yes")
    done = cli("train.py", "steps=1")
    assert done.returncode == 1 and done.stderr.startswith("WANDB_CONSOLE=yes cannot be used")
    assert len(done.stderr.splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# The end of a run


class FakeRun:
    """What a view asks of a run of W&B."""

    def __init__(self) -> None:
        self.summary: Line = {}
        self.alerts: list[tuple[str, str, str]] = []
        self.preempting, self.exit_code = False, None

    def log(self, *_: object, **__: object) -> None: ...

    def alert(self, *said: str) -> None:
        self.alerts.append(said)

    def mark_preempting(self) -> None:
        self.preempting = True

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_the_summary_says_what_a_run_came_to(runs):
    (run,) = [r for r in load_runs("vgg", runs) if (r.norm, r.lr, r.seed) == ("batch", 0.1, 0)]
    found, mirror = single_numbers(run), FakeRun()
    assert found["final/accuracy"] == final_accuracy(run) > 0.5 and found["diverged"] == 0
    expected = {"loss", "gradient_change", "effective_beta", "shift", "shift_cosine", "loss_range"}
    assert {key.rpartition("/")[2] for key in found} >= expected
    assert all(math.isfinite(value) for value in found.values())
    view = View(mirror, run.directory, 10.0)
    view({"end": {"outcome": "finished", "step": 40, "seconds": 1.0}})
    assert mirror.summary == found | {"outcome": "finished", "step": 40, "seconds": 1.0}
    assert (mirror.exit_code, mirror.alerts) == (0, [])


def test_a_run_that_diverges_has_the_accuracy_of_guessing_and_an_alert(runs):
    (run,) = [r for r in load_runs("vgg", runs) if r.outcome == "diverged"]
    mirror = FakeRun()
    View(mirror, run.directory, 10.0)({"end": {"outcome": "diverged", "step": 7, "seconds": 1.0}})
    assert mirror.summary["diverged"] == 1 and mirror.summary["final/loss"] == math.inf
    assert mirror.summary["final/accuracy"] == final_accuracy(run)
    ((title, text, level),) = mirror.alerts
    assert title.endswith("diverged") and "step 7" in text and level == "WARN" and len(title) < 64


@pytest.mark.usefixtures("no_variables")
def test_a_run_that_fails_alerts_and_one_that_is_preempted_does_not(tmp_path, monkeypatch):
    end = {"end": {"outcome": "interrupted", "step": 2}}
    failed, preempted = FakeRun(), FakeRun()
    try:
        raise RuntimeError("CUDA out of memory")
    except RuntimeError:
        View(failed, tmp_path, 10.0)(end)
    monkeypatch.setenv("WANDB_SWEEP_ID", "abcd1234")
    View(preempted, tmp_path, 10.0)(end)
    ((_, text, level),) = failed.alerts
    assert "RuntimeError: CUDA out of memory" in text and level == "ERROR"
    assert not failed.preempting and preempted.preempting and not preempted.alerts
    assert failed.exit_code == preempted.exit_code == 1


# Views


@pytest.mark.usefixtures("workspaces")
def test_a_view_shows_one_experiment_in_the_colours_of_the_figures(runs, script, capsys):
    assert script("dashboard").main(["vgg", "--scale", "demo", "--dry-run"]) == 0
    section = json.loads(capsys.readouterr().out)["spec"]["section"]
    (run_set,) = section["runSets"]
    filters = {f["key"]["name"]: f["value"] for f in run_set["filters"]["filters"]}
    assert filters == {"group": "vgg", "jobType": "train", "header.value.scale": "demo"}
    pinned = run_set["runFeed"]["columnPinned"]
    assert {"config:header.value.choices.norm", "summary:final/accuracy"} <= set(pinned)
    colours = list(section["customRunColors"].values())
    assert {arm.colour for arm in style.LOOKS.values()} <= set(colours)
    assert len(colours) == len(style.LOOKS) + 6  # and a tint for each norm and lr
    plots = [p["config"] for s in section["panelBankConfig"]["sections"] for p in s["panels"]]
    shown = {key for plot in plots for key in plot.get("metrics", ())}
    logged = {key for run in load_runs("vgg", runs) for key in run.records}
    recorded = {key.split("/")[2] for key in logged if key.startswith("moments/mean/")}
    layers = {match[0] for key in shown if (match := re.search(r"layer\d+", key))}
    assert layers == recorded and len(layers) > 2


@pytest.mark.usefixtures("workspaces")
def test_every_experiment_with_runs_has_a_view_and_runs_that_differ_are_not_averaged(
    runs, script, capsys
):
    dashboard = script("dashboard")
    assert dashboard.main(["--dry-run", "--layers", "layer3"]) == 0
    views = json.loads(capsys.readouterr().out)
    assert len(views) == len(made_up.GRIDS)
    assert len({view["displayName"] for view in views}) == len(views)
    assert dashboard.varied("vgg") == dashboard.varied("custom") == []
    assert dashboard.varied("depth_resnet") == ["header.choices.model", "model.depth"]
    assert dashboard.varied("lr_by_init_vgg") == ["header.choices.init"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nope"], "There is no experiment nope"), (["--project", "a/b"], "--project a/b must be")],
)
def test_a_view_of_nothing_is_refused(script, capsys, words, said):
    assert script("dashboard").main([*words, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (1.0, "1"), (1e-6, "0.000001"), (1e-7, "1e-7"), (2.5e-7, "2.5e-7"), (10, "10")],
)
def test_a_learning_rate_is_written_as_javascript_writes_it(script, number, text):
    assert script("dashboard").as_javascript(number) == text


# The paper as a report


@pytest.mark.usefixtures("workspaces")
def test_the_report_has_a_section_per_figure_and_every_verdict(runs, script, capsys):
    assert script("report").main(["--scale", "demo", "--out", "out", "--dry-run"]) == 0
    assert "out/wandb_report.json" in capsys.readouterr().out
    blocks = json.loads(Path("out/wandb_report.json").read_text())["spec"]["blocks"]
    results = claims.evaluate({name: load_runs(name, runs) for name in claims.EXPERIMENTS})
    titles = [_text(block) for block in blocks if block["type"] == "heading"]
    assert titles[: len(discover())] == [
        f"Figure {name.removeprefix('figure')}: {own.__doc__.splitlines()[0]}"
        if name.startswith("figure")
        else own.__doc__.splitlines()[0]
        for name, own in discover().items()
    ]
    callouts = [_text(block) for block in blocks if block["type"] == "callout-block"]
    for result in results:
        begun = f"{result.claim.title}: {result.verdict}. "
        assert any(text.startswith(begun) for text in callouts)
    at = next(i for i, b in enumerate(blocks) if _text(b).startswith("Figure 4: "))
    following = blocks[at : at + next(i for i, b in enumerate(blocks[at:]) if "metadata" in b) + 1]
    assert any("effective beta-smoothness" in _text(block) for block in following)  # its caption
    run_sets = following[-1]["metadata"]["runSets"]
    assert [own["name"] for own in run_sets] == ["vgg"]
    assert "vgg" in [f["value"] for f in run_sets[0]["filters"]["filters"]]
    panels = following[-1]["metadata"]["panelBankSectionConfig"]["panels"]
    shown = {key for panel in panels for key in panel["config"]["metrics"]}
    assert "landscape/effective_beta" in shown and "train/loss" not in shown


def _text(block: Line) -> str:
    if "text" in block:
        return block["text"]
    return "".join(_text(child) for child in block.get("children", ()))


@pytest.mark.parametrize(
    ("source", "figures"),
    [
        ("section 3.3, figures 5a, 12a", ["5a", "12a"]),
        ("section 2, figure 1c; numbers of figure 8a", ["1c", "8a"]),
        ("He et al. 2015 (ResNet), figures 1 and 6", []),
        ("Santurkar et al. 2018, figure 4c, read closely", ["4c"]),
        ("section 3.2", []),
    ],
)
def test_a_source_names_the_figures_of_the_paper(script, source, figures):
    assert script("paper_report").figures_in(source) == figures


# Sweeps


@pytest.mark.parametrize("experiment", options("experiment"))
def test_the_grid_of_a_sweep_is_that_of_the_experiment(script, capsys, experiment):
    assert script("wandb_sweep").main([experiment]) == 0
    sweep = yaml.safe_load(capsys.readouterr().out)
    axes = {name: own["values"] for name, own in sweep["parameters"].items()}
    agent = script("wandb_agent")
    given = {
        frozenset(agent.translate([f"{k}={v}" for k, v in zip(axes, values, strict=True)]))
        for values in product(*axes.values())
    }
    own = {f"experiment={experiment}"}
    wanted = {frozenset(set(run) - own) for run in script("reproduce").grid(experiment, [])}
    assert _numbers(given) == _numbers(wanted) and sweep["run_cap"] == len(wanted)
    assert f"experiment={experiment}" in sweep["command"]


def _numbers(grid: set[frozenset[str]]) -> set[frozenset[tuple[str, object]]]:
    return {frozenset((k, yaml.safe_load(_yaml(v))) for k, v in _pairs(run)) for run in grid}


def _pairs(run: frozenset[str]) -> list[list[str]]:
    return [word.split("=", 1) for word in run]


def _yaml(text: str) -> str:
    return f"{float(text):.17g}" if re.fullmatch(r"[\d.]+(e-?\d+)?", text) else text


def test_a_search_varies_lr_alone_and_ends(script, capsys):
    assert script("wandb_sweep").main(["vgg", "norm=none", "--lr", "0.01", "1"]) == 0
    sweep = yaml.safe_load(capsys.readouterr().out)
    searched = {key for key, own in sweep["parameters"].items() if "value" not in own}
    assert searched == {"optimizer.lr"} and sweep["run_cap"] == 30
    assert "norm=none" in sweep["command"]
    ready = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())
    assert [key for key, own in ready["parameters"].items() if "value" not in own] == [
        "optimizer.lr"
    ]
    assert ready["run_cap"] == 30 and ready["metric"]["name"] == "final/accuracy"
    assert script("wandb_sweep").main(["vgg", "--lr", "1", "0.1"]) == 1
    assert "--lr 1.0 0.1 must be" in capsys.readouterr().err
    assert script("wandb_sweep").main(["vgg", "seed="]) == 1
    assert capsys.readouterr().err == "seed= must be a whole number, 0 or more.\n"
    assert script("wandb_sweep").main(["nope"]) == 1
    assert capsys.readouterr().err.startswith("experiment=nope is unknown; it must be one of ")


def test_what_an_agent_passes_is_understood(script):
    translate = script("wandb_agent").translate
    words = ["batch_size=8.0", "seed=0.0", "optimizer.lr=3.1622776601683795e-05", "norm=batch"]
    assert translate(words) == [
        "batch_size=8",
        "seed=0",
        "optimizer.lr=3.1622776601683795e-05",
        "norm=batch",
    ]
    assert translate(["optimizer={'lr': 1.0, 'betas': [0.9, 0.5]}", "data.augment=True"]) == [
        "optimizer.lr=1",
        "optimizer.betas=[0.9,0.5]",
        "data.augment=true",
    ]
    assert translate(["wandb.entity=None", "data.name=one string", "results='a b'"]) == [
        "wandb.entity=null",
        'data.name="one string"',
        'results="a b"',
    ]
    assert translate(["-m", "probes=[activations,landscape]"]) == [
        "-m",
        "probes=[activations,landscape]",
    ]


def test_a_whole_config_after_a_preemption_is_the_words_of_the_sweep(script):
    words = ["norm=batch", "optimizer.lr=0.1", "batch_size=8.0"]
    whole = ["steps=160", "optimizer={'lr': 0.1, '_target_': 'x'}", "header={'layers': ['layer1']}"]
    again = script("wandb_agent").translate([*whole, f"sweep_words={words}", "wandb.mode=online"])
    assert again == ["norm=batch", "optimizer.lr=0.1", "batch_size=8"]


# Records that W&B keeps


class FakeApi:
    """What is asked of wandb.Api, for the runs of a folder."""

    default_entity = "me"

    def __init__(self, root: Path) -> None:
        self.runs = [load_run(path.parent) for path in root.glob("*/*/run.jsonl")]

    def artifact_collections(self, path: str, kind: str) -> list[SimpleNamespace]:
        assert (path, kind) == ("me/bnstudy", "record")
        return [SimpleNamespace(name=f"record-{run_id(run.header)}") for run in self.runs]

    def artifact(self, name: str, type: str) -> SimpleNamespace:
        named = {f"me/bnstudy/record-{run_id(run.header)}:latest": run for run in self.runs}
        run = named[name]

        def fetch(root: str, path_prefix: str) -> None:
            Path(root).mkdir(parents=True, exist_ok=True)
            text = (run.directory / path_prefix).read_bytes()
            Path(root, path_prefix).write_bytes(text)

        place = {"scale": run.scale, "experiment": run.experiment, "name": run.directory.name}
        return SimpleNamespace(metadata=place, download=fetch)


def test_figures_are_drawn_from_the_records_that_wandb_has(runs, script, monkeypatch, tmp_path):
    for other in set(made_up.GRIDS) - {"deep_linear"}:
        (runs / other).rename(tmp_path / other)
    api = FakeApi(runs)
    monkeypatch.setattr("bnstudy.wandb_records._api", lambda: api)
    drawn: list[str] = []

    def draw(name, figure, found, out, kinds):
        drawn.extend(run.directory.name for run in found)
        return True

    monkeypatch.setattr(script("figures"), "draw", draw)
    assert script("figures").main(["figure3b", "--wandb", "bnstudy", "--out", "out"]) == 0
    assert sorted(drawn) == sorted(path.name for path in (runs / "deep_linear").iterdir())
    assert len(list(Path("results/wandb/me/bnstudy/demo/deep_linear").iterdir())) == 8
    api.runs.append(load_run(next((tmp_path / "vgg").iterdir())))
    api.runs[-1].header["scale"] = "../../../small"  # never a way out of the folder
    with pytest.raises(ValueError, match="at scale demo and small; choose one with --scale"):
        download("me/bnstudy", tmp_path / "a", api=api)
    assert download("bnstudy", tmp_path / "a", "small", api) == tmp_path / "a/me/bnstudy/small"
    api.runs.clear()
    with pytest.raises(ValueError, match="me/bnstudy has no records; runs with wandb.artifact=tr"):
        download("bnstudy", tmp_path / "b", api=api)
    with pytest.raises(ConnectionError, match="does not give the records of you/other"):
        download("you/other", tmp_path / "b", api=api)


# In a terminal


def test_runs_are_listed_by_norm_lr_and_seed_without_links_by_hand(runs, script, tmp_path, capsys):
    watch = script("watch")
    for run in (runs / "deep_linear").iterdir():
        made = run / "wandb" / "offline-run-20261125_092647-ab12-cd34"
        made.mkdir(parents=True)
        (made / "run-ab12-cd34.wandb").touch()
    assert watch.main(["deep_linear", "--norm", "batch", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    (tmp_path / "links").mkdir()
    for path in watch.attempts(Path("results/runs"), "deep_linear", "demo", "batch"):
        watch.link(path, tmp_path / "links")
    names = sorted(path.name for path in (tmp_path / "links").iterdir())
    assert names[0] == "run-20261125_092647-batch lr1e−06 seed0 deep_linear xavier_uniform"
    assert len(names) == 4
    (file,) = (tmp_path / "links" / names[0]).iterdir()
    assert file.name == f"run-{names[0].split('-')[2]}.wandb" and file.is_symlink()
    assert watch.main(["vgg"]) == 1
    assert "has no runs of vgg that W&B has files of" in capsys.readouterr().err


def test_scripts_say_what_they_need_before_they_start():
    for name in ("dashboard", "watch", "wandb_sweep"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--help"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "examples:" in done.stdout
