"""The command line as users meet it: runs, refusals, a whole reproduction."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, lines
from PIL import Image

QUIET = ["wandb.mode=disabled"]
SMALL = [*QUIET, "model.depth=11", "model.width=0.0625", "batch_size=16"]
SMALL += ["steps=4", "probe_every=2", "test_every=4"]
DIGITS = [*SMALL, "data.held_out=1600"]  # for training 197 images are left


def only_run(root: Path) -> Path:
    (path,) = root.glob("results/runs/*/*/*/run.jsonl")
    return path.parent


def images(root: Path, size: int = 32, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """A folder of small images: two classes that differ in brightness."""
    for split, count in (("train", 12), ("test", 4)):
        for label, shade in zip(classes, (60, 180), strict=True):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (size, size), (shade + i, i, 0)).save(folder / f"{i}.png")
    return root


def test_a_run_on_digits_and_again(cli, tmp_path):
    first = cli("train.py", *DIGITS, "keep_every=3")
    assert first.returncode == 0, first.stderr
    directory = only_run(tmp_path)
    assert first.stdout == f"{directory.relative_to(tmp_path)}: finished\n"
    assert "step 4/4" in first.stderr  # not a terminal: lines instead of a bar
    header, *steps, end = lines(directory)
    assert header["header"]["config"]["steps"] == 4
    assert header["header"]["data"]["name"] == "digits"
    assert header["header"]["choices"]["norm"] == "batch"
    assert header["header"]["versions"]["torch"]
    probed = {key.split("/")[0] for key in steps[0]} - {"step"}
    probes = {"landscape", "internal_covariate_shift", "activations"}
    assert probed == {"train", "test"} | probes
    assert end == {"end": {"outcome": "finished", "step": 4}}
    assert [path.name for path in sorted(directory.glob("weights/*"))] == [
        f"0000000{step}.pt" for step in (0, 3, 4)
    ]
    before = (directory / "run.jsonl").read_bytes()
    again = cli("train.py", *DIGITS)  # what is kept beside the record does not make another run
    assert again.returncode == 0
    assert "finished before; nothing to do" in again.stdout
    assert (directory / "run.jsonl").read_bytes() == before


def test_a_sweep_is_the_grid(cli, tmp_path):
    done = cli("train.py", "-m", "norm=none,batch", "optimizer.lr=0.1,0.2", "seed=3", *DIGITS)
    assert done.returncode == 0, done.stderr
    names = {path.name.split("_model")[0] for path in tmp_path.glob("results/runs/demo/custom/*")}
    suffix = "_seed3_batch_size=16_data.held_out=1600"
    expected = {
        f"vgg_{norm}_xavier_uniform_lr{lr}{suffix}"
        for norm in ("none", "batch")
        for lr in (0.1, 0.2)
    }
    assert names == expected
    assert not list(tmp_path.glob("*.log"))


def test_images_in_a_folder(cli, tmp_path):
    root = images(tmp_path / "photos")
    done = cli("train.py", "data=image_folder", f"data.root={root}", "data.augment=true", *SMALL)
    assert done.returncode == 0, done.stderr
    header, *steps, _ = lines(only_run(tmp_path))
    assert header["header"]["data"]["name"] == "image_folder:photos"
    assert steps[-1]["test/accuracy"] >= 0


def test_the_published_resnet_trains_as_its_schedule_says(cli, tmp_path):
    smaller = ["model.depth=20", "model.width=0.25", "batch_size=16", "steps=100"]
    smaller += ["data.held_out=1600", "test_every=100"]
    done = cli("train.py", "experiment=resnet_baseline", *QUIET, *smaller)
    assert done.returncode == 0, done.stderr
    header, *steps, end = lines(only_run(tmp_path))
    config, choices = header["header"]["config"], header["header"]["choices"]
    assert (choices["model"], choices["norm"], choices["init"]) == ("resnet", "batch", "kaiming")
    assert config["data"]["augment"] and config["optimizer"]["weight_decay"] == 1e-4
    assert len(header["header"]["layers"]) == 20
    lrs = [line["train/lr"] for line in steps if "train/lr" in line]
    assert lrs == pytest.approx([0.1] * 50 + [0.01] * 25 + [0.001] * 25)
    penalties = [line["train/penalty"] for line in steps if "train/penalty" in line]
    assert len(penalties) == 100 and min(penalties) > 0
    # Ten classes: one in ten is chance.
    assert steps[-1]["test/accuracy"] > 0.2 and end["end"]["outcome"] == "finished"


def test_diverged_is_an_outcome_and_not_an_error(cli):
    words = ["norm=none", "optimizer.lr=1e6", *DIGITS, "steps=50"]
    done = cli("train.py", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": diverged\n")
    assert "diverged before" in cli("train.py", *words).stdout


BAD = {
    "optimizer.lr=0": "optimizer.lr=0 must be a number, more than 0.",
    "optimizer.lr=-0.1": "optimizer.lr=-0.1 must be a number, more than 0.",
    "optimizer.lr=nan": "optimizer.lr=nan must be a number, more than 0.",
    "optimizer.lr=fast": "optimizer.lr=fast must be a number, more than 0.",
    "optimizer.weight_decay=-1": "optimizer.weight_decay=-1 must be a number, 0 or more.",
    "schedule.warmup=-1": "schedule.warmup=-1 must be a whole number, 0 or more",
    "+optimizer.betas=0.9": "optimizer.betas=0.9 must be two numbers from 0 to less than 1.",
    "steps=0": "steps=0 must be a whole number, 1 or more.",
    "steps=1.5": "steps=1.5 must be a whole number, 1 or more.",
    "batch_size=0": "batch_size=0 must be a whole number, 1 or more.",
    "batch_size=2000": "batch_size=2000 is larger than the 1500 training images of digits",
    "seed=-1": "seed=-1 must be a whole number, 0 or more.",
    "test_every=-1": "test_every=-1 must be a whole number, 0 or more or null.",
    "probe_every=0": "probe_every=0 must be a whole number, 1 or more.",
    "probes.landscape.every=0": "probes.landscape.every=0 must be a whole number, 1 or more.",
    "probes.landscape.multiples=[]": "probes.landscape.multiples=[] must be positive numbers",
    "probes.activations.layers=[layer99]": "probe layer 'layer99' is not in the model",
    "norm=bach": "norm=bach is unknown; it must be one of batch,",
    "optimizer.lrr=1": "optimizer.lrr is not a key; --help shows",
    "+optimizer.lrr=1": "optimizer.lrr is no option of torch.optim.SGD; its options are lr,",
    "+foo=1": "foo is not a key; the keys are experiment, seed, steps,",
    "foo=1": "foo is not a key; --help shows",
    "model.width=[": "'model.width=[' cannot be read",
    "probes=[landscap]": "probes=landscap is unknown; it must be one of activations,",
    "norm.eps=-1": "norm.eps=-1 must be a number, 0 or more.",
    "init.gain=0": "init.gain=0 must be a number, more than 0.",
    "model.width=0.001": "model.width=0.001 leaves the first stage without a channel",
    "model.depth=12": "model.depth=12 is not a VGG; it must be one of 11, 13, 16, 19.",
    "data.image_size=16": "needs at least 32x32 pixels; the data has 16x16.",
    "model=deep_linear": "Use data=deep_linear.",
    "device=tpu": "device=tpu is unknown; it must be one of auto, cpu, cuda, mps.",
    "wandb.mode=maybe": "wandb.mode=maybe is unknown; it must be one of offline, online, disabled.",
    "wandb.fallback=on": "wandb.fallback=on is unknown; it must be one of null, offline, disabled.",
    "wandb.patience=0": "wandb.patience=0 must be a number, more than 0.",
    "data=cifar10": "data.download=true",
    "data=image_folder": "data.root is not set",
    "results=file/runs": "results=file/runs cannot be written to",
    "results=null": "results=null must be a folder.",
    "results=": "results= must be a folder.",
    "results='$HOME/runs'": "results=$HOME/runs has a $ that nothing replaces; write",
    "seed=18446744073709551616": "must be a whole number, 0 or more, and 9223372036854775807 at",
    "seed=${nope}": "'nope' not found",
    "probes=[moments] probes.moments.units=abc": "probes.moments.units=abc must be a whole number",
    "probes=[gradients] probes.gradients.layers=null2": "gradients.layers=null2 must be a list of",
    "probes.activations.bins=2.5": "probes.activations.bins=2.5 must be a whole number.",
    "probes.landscape=off": "probes.landscape=off replaces the options of a probe; ~probes.landsc",
    "+probes.nope=1": "probes.nope=1 replaces the options of a probe; ~probes.nope leaves it out.",
    "+probes.nope.every=1": "probes.nope is no probe that was chosen; choose probes with probes=[n",
    "model=resnet model.depth=20.0": "model.depth=20.0 must be a whole number.",
    "model=mlp model.hidden=[1.5]": "model.hidden=[1.5] must be a list of whole numbers.",
    "norm=linf norm.p=inf2": "norm.p=inf2 must be a number.",
    "norm.eps=inf": "norm.eps=inf must be a finite number.",
    "norm.momentum=nan": "norm.momentum=nan must be a number",
    "norm.momentum=2": "norm.momentum=2 must be a number, from 0 to 1",
    "norm.affine=no": "norm.affine=no must be true or false.",
    "+optimizer.dampening=nan": "optimizer.dampening=nan must be a number.",
    "+optimizer.nesterov=off": "optimizer.nesterov=off must be true or false.",
    "optimizer._target_=torch.optim.LBFGS": "optimizer.momentum is no option of torch.optim.LBFGS",
    "threads=100000": "threads=100000 must be a whole number, 1 or more, 1024 at most or null.",
    "model.width=1e9": "There is no memory for this run: it asks for",
    "norm._target_=bnstudy.norms.Nope": "norm._target_=bnstudy.norms.Nope cannot be imported (",
    "probes.landscape.multiples=[1e308]": "must be a list of numbers, each 3e+38 at most.",
    "wandb=disabled": "wandb=disabled replaces a section of the config; use wandb.mode=disabled.",
    "~wandb.project": "wandb.project is missing; give wandb.project=VALUE.",
    "scale.name=[a]": "scale.name=[a] must be text.",
    "~schedule": "~schedule: no run goes without schedule; schedule must be one of constant,",
    "schedule=null": "schedule=null: schedule must be one of constant,",
    "norm=none,batch": "norm=none,batch has several values: -m makes a run of each",
    "hydra/job_logging=nope": "hydra/job_logging=nope is unknown; it must be one of ",
}
IN_HYDRA = [
    "foo=1",
    "norm=bach",
    "model.width=[",
    "norm=none,batch",
    "schedule=null",
    "seed=${nope}",
]


def refusal(words: list[str]) -> str:
    """What scripts/train.py says of a command line before any work."""
    from bnstudy.app import overrides
    from bnstudy.app.reproduce import REFUSALS, composed, split
    from bnstudy.app.train import prepare, sentence

    try:
        overrides.read(words, multirun=False)
        config, choices = split(composed(words))
        prepare(config, choices, words)
    except REFUSALS as error:
        return sentence(error)
    return ""


@pytest.mark.parametrize("override", BAD)
def test_bad_input_is_one_sentence_before_any_work(tmp_path, monkeypatch, override):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file where a folder should be")
    said = refusal([*QUIET, *override.split()])
    assert BAD[override] in said and "\n" not in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "file"]


@pytest.mark.parametrize("override", [*IN_HYDRA, "data.augment=no", "data=image_folder"])
def test_the_command_says_that_sentence_and_nothing_else(cli, tmp_path, override):
    done = cli("train.py", *QUIET, override)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"{refusal([*QUIET, override])}\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def folder_faults(root: Path) -> dict[str, str]:
    """Broken folders of images, and what the refusal says."""
    images(root / "empty")
    for path in (root / "empty" / "train" / "cat").iterdir():
        path.unlink()
    images(root / "sizes")
    Image.new("RGB", (40, 32)).save(root / "sizes" / "train" / "dog" / "5.png")
    images(root / "torn")
    (root / "torn" / "test" / "cat" / "2.png").write_bytes(b"no image")
    return {"empty": "train/cat is empty", "sizes": "train/dog/5.png", "torn": "test/cat/2.png"}


def test_broken_image_folders_are_refused_by_name(cli, tmp_path):
    for name, message in folder_faults(tmp_path / "data").items():
        root = tmp_path / "data" / name
        done = cli("train.py", "data=image_folder", f"data.root={root}", *SMALL)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("results/**/run.jsonl"))
        assert not list(root.glob(".bnstudy*"))


def test_another_config_in_the_same_directory_is_refused(cli, tmp_path):
    assert cli("train.py", *DIGITS).returncode == 0
    directory = only_run(tmp_path)
    record = directory / "run.jsonl"
    header, *rest = record.read_text().splitlines()
    parsed = json.loads(header)["header"]
    parsed["config"]["optimizer"]["momentum"], parsed["fingerprint"] = 0.5, "other"
    record.write_text("\n".join([json.dumps({"header": parsed}), *rest]) + "\n")
    before = record.read_bytes()
    done = cli("train.py", *DIGITS)
    assert done.returncode == 1
    assert "holds a run of another config (optimizer.momentum: 0.5 there, 0.0 here)" in done.stderr
    assert record.read_bytes() == before


def test_help_says_how_to_start(cli):
    for script, words in (
        (
            "train.py",
            ["Usage: python scripts/train.py", "norm: batch, batch_no", "scale: demo, long"],
        ),
        ("reproduce.py", ["scale=demo", "--plan", "--workers"]),
        ("figures.py", ["--scale", "figure4"]),
        ("report.py", ["--scale", "report.html"]),
    ):
        done = cli(script, "--help")
        assert done.returncode == 0, done.stderr
        assert all(word in done.stdout for word in words)


def test_reproduce_plans_runs_and_draws(cli, tmp_path):
    small = ["model.depth=11", "model.width=0.0625", "data.held_out=1600", "batch_size=20"]
    small += ["steps=4", "probe_every=2", "test_every=4"]
    words = ["scale=demo", "seed=0", "optimizer.lr=0.1", "norm=l1,l2", *small, *QUIET]
    words += ["--experiments", "vgg_lp", "--workers"]
    plan = cli("reproduce.py", *words, "1", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "vgg_lp: 2 runs at scale demo, 2 to do" in plan.stdout
    assert not list(tmp_path.glob("results/**/run.jsonl"))
    done = cli("reproduce.py", *words, "2")
    assert done.returncode == 0, done.stderr
    assert "in 2 processes of one thread each" in done.stdout
    assert len(list(tmp_path.glob("results/runs/demo/vgg_lp/*/run.jsonl"))) == 2
    for figure in ("figure5a", "figure6", "figure12"):
        assert f"results/figures/demo/{figure}.png" in done.stdout
    assert "results/reports/demo/report.html" in done.stdout
    again = cli("reproduce.py", *words, "1", "--plan")
    assert "vgg_lp: 2 runs at scale demo, 0 to do" in again.stdout


def test_reproduce_refuses_and_reports(cli, tmp_path):
    for words, message in (
        (["scale=huge"], "scale=huge is unknown; it must be one of demo, long, paper, small."),
        (["optimizer.lr=0"], "optimizer.lr=0 must be a number, more than 0."),
        (["demo"], "'demo' is not KEY=VALUE"),
        (["scale=small"], "data.download=true"),
        (["--plan", "model.width=0.001"], "model.width=0.001 leaves the first stage without"),
        (
            ["experiment=vgg", "--plan"],
            "experiment=vgg: choose experiments with --experiments vgg.",
        ),
        (["seed=range(16)", "init=foo,kaiming"], "init=foo is unknown; it must be one of"),
    ):
        done = cli("reproduce.py", *words, "--experiments", "vgg", "--workers", "1")
        assert done.returncode in (1, 2)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("results/**/run.jsonl"))


def test_runs_that_diverge_at_once_are_planned(cli):
    words = ["scale=demo", "seed=0", "optimizer.lr=1e30", "init=xavier_large", "model.depth=20"]
    words += ["model.width=0.0625", "data.held_out=1400", "batch_size=20", *QUIET]
    words += ["--experiments", "depth_resnet", "--workers", "1"]
    plan = cli("reproduce.py", *words, "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "depth_resnet: 4 runs at scale demo, 4 to do" in plan.stdout


def test_images_given_to_reproduce_are_not_for_the_deep_linear_network(cli, tmp_path):
    root = images(tmp_path / "photos")
    words = ["data=image_folder", f"data.root={root}", "batch_size=20", "--workers", "1"]
    done = cli("reproduce.py", *words, "--plan", "--experiments", "deep_linear", "vgg")
    assert done.returncode == 0, done.stderr
    assert "deep_linear: 8 runs" in done.stdout
    assert "vgg: 12 runs" in done.stdout


def test_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "results=locked/runs", *QUIET]
    if os.geteuid() == 0:  # who may write everywhere, until that is taken from it
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere")
        drop = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "results=locked/runs cannot be written to (Permission denied)" in done.stderr


def test_a_learning_rate_beyond_float32_diverges_or_is_refused(zygote, tmp_path):
    tiny = ["model=mlp", "norm=none", "steps=3", "batch_size=8", "wandb.mode=disabled"]
    done = zygote.call(tmp_path, "train.py", *tiny, "optimizer.lr=1e38")
    assert done.returncode == 0 and "diverged" in done.stdout
    refused = zygote.call(tmp_path, "train.py", *tiny, "optimizer.lr=1e39")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "optimizer.lr=1e+39 must be a number, more than 0, and 3e+38 at most." in refused.stderr


@pytest.mark.parametrize("criterion", ["mse", "label_smoothing"])
def test_the_task_is_a_choice(criterion, zygote, tmp_path):
    tiny = ["model=mlp", "steps=2", "batch_size=8", "wandb.mode=disabled"]
    done = zygote.call(tmp_path, "train.py", *tiny, f"criterion={criterion}")
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.rglob("run.jsonl")
    first = json.loads(record.read_text().splitlines()[1])
    assert 0 <= first["train/accuracy"] <= 1 and 0 <= first["test/accuracy"] <= 1
    refused = zygote.call(tmp_path, "train.py", "data=deep_linear", f"criterion={criterion}")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr


def test_inputs_may_be_left_as_they_are(zygote, tmp_path):
    tiny = ["model=mlp", "steps=2", "batch_size=8", "wandb.mode=disabled"]
    done = zygote.call(tmp_path, "train.py", *tiny, "data.normalise=false")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*data.normalise=false*/run.jsonl"))


def test_other_images_are_another_run(zygote, tmp_path):
    tiny = ["data=image_folder", "steps=2", "model=mlp", "batch_size=4", "wandb.mode=disabled"]
    for name in ("one", "two"):
        images(tmp_path / name, size=8)
    for path in (tmp_path / "two").rglob("*.png"):  # as the first, inverted
        Image.open(path).point(lambda value: 255 - value).save(path)
    first = zygote.call(tmp_path, "train.py", *tiny, "data.root=one")
    assert first.returncode == 0, first.stderr
    (record,) = tmp_path.rglob("run.jsonl")
    whole = record.read_bytes()
    again = zygote.call(tmp_path, "train.py", *tiny, "data.root=one")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = zygote.call(tmp_path, "train.py", *tiny, "data.root=two")
    assert other.returncode == 1 and "Traceback" not in other.stderr
    assert "data.digest: " in other.stderr and "data.root: one there, two here" in other.stderr
    record.write_bytes(whole[: whole.rindex(b'{"end"')])  # interrupted
    resumed = zygote.call(tmp_path, "train.py", *tiny, "data.root=two")
    assert resumed.returncode == 1 and "data.digest: " in resumed.stderr
    record.write_bytes(whole)
    more = tmp_path / "one" / "train" / "cat" / "9.png"
    more.write_bytes((tmp_path / "two" / "train" / "cat" / "0.png").read_bytes())
    changed = zygote.call(tmp_path, "train.py", *tiny, "data.root=one")
    assert changed.returncode == 1 and "data.digest: " in changed.stderr
    gone = zygote.call(tmp_path, "train.py", *tiny, "data.root=nowhere")
    assert gone.returncode == 1 and "data.root=nowhere is no folder" in gone.stderr
    assert len(list(tmp_path.rglob("run.jsonl"))) == 1
