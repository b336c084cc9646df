"""Configs: every option composes and builds; the arms of a comparison differ in one value."""

from functools import cache
from itertools import product
from math import inf, prod

import pytest
import torch
from conftest import CONFIGS, build, config, options, small_config
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

# The paper's experiments: norms and learning rates, each a Cartesian block.
BLOCKS = {
    "vgg": (["none", "batch"], [0.01, 0.1, 0.5]),
    "vgg_noise": (["noisy_batch", "noise"], [0.1]),
    "vgg_lp": (["l1", "l2", "linf"], [0.1]),
    "deep_linear": (["none", "batch"], [1e-6, 1e-7]),
    "deep_linear_lp": (["l1", "l2", "linf"], [1e-6]),
}
GROUPS = sorted(
    path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "protocol"
)
CHOICES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_every_option_composes_and_resolves(group, option):
    value = f"[{option}]" if group in ("probes", "sweep") else option
    cfg = config(f"{group}={value}")
    OmegaConf.resolve(cfg)
    assert not OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize("scale", options("scale"))
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_exists_at_every_scale(experiment, scale):
    cfg = config(f"experiment={experiment}", f"scale={scale}")
    OmegaConf.resolve(cfg)
    assert cfg.experiment == experiment and cfg.scale.name == scale
    assert cfg.steps % cfg.probe_every == 0
    instantiate(cfg.probes, _convert_="all")


@cache
def axes(experiment: str, scale: str) -> tuple[DictConfig, dict[str, list[str]]]:
    """The config of an experiment, and the values that Hydra would sweep, by key."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        overrides = [f"experiment={experiment}", f"scale={scale}"]
        cfg = compose("train", overrides, return_hydra_config=True)
    return cfg, {key: str(values).split(",") for key, values in cfg.hydra.sweeper.params.items()}


def grid(experiment: str, scale: str) -> list[tuple[str, str, str, float, str]]:
    """Model, data, norm, lr and seed of every run of one of the paper's experiments."""
    cfg, swept = axes(experiment, scale)
    assert swept.keys() <= {"norm", "optimizer.lr", "seed"}
    lrs = [float(lr) for lr in swept.get("optimizer.lr", [cfg.optimizer.lr])]
    choices = cfg.hydra.runtime.choices
    return list(product([choices.model], [choices.data], swept["norm"], lrs, swept["seed"]))


@pytest.mark.parametrize("scale", options("scale"))
def test_experiments_are_blocks_that_do_not_overlap(scale):
    grids = {experiment: grid(experiment, scale) for experiment in BLOCKS}
    cells = [cell for runs in grids.values() for cell in runs]
    assert len(set(cells)) == len(cells)
    for experiment, (norms, lrs) in BLOCKS.items():
        assert {(norm, lr) for _, _, norm, lr, _ in grids[experiment]} == set(product(norms, lrs))
        # What an experiment adds to another is read beside it: at the same learning rate and seeds.
        beside = experiment.removesuffix("_noise").removesuffix("_lp")
        for _, _, _, lr, seed in grids[experiment]:
            assert any(cell[3:] == (lr, seed) for cell in grids[beside])


@pytest.mark.parametrize("experiment", options("experiment"))
def test_the_header_of_an_experiment_counts_its_runs(experiment):
    header = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    grids = [axes(experiment, scale)[1].values() for scale in ("demo", "small", "paper")]
    demo, small, paper = (prod(len(values) for values in of_scale) for of_scale in grids)
    at_paper = "small and at paper scale" if small == paper else f"small, {paper} at paper scale"
    assert f"# Runs: {demo} at demo scale, {small} at {at_paper}" in header
    assert f"python scripts/train.py -m experiment={experiment} " in header


# What is published of other networks has their optimizer, or their schedule.
OWN_OPTIMIZER = {"resnet_baseline", "transformer", "transformer_text", "scale_invariance_lr"}


@pytest.mark.parametrize("scale", options("scale"))
@pytest.mark.parametrize("experiment", options("experiment"))
def test_the_paper_s_experiments_and_no_others_have_its_optimizer(experiment, scale):
    cfg, _ = axes(experiment, scale)
    choices = cfg.hydra.runtime.choices
    usual = (choices.optimizer, choices.schedule) == ("sgd", "constant")
    assert usual == (experiment not in OWN_OPTIMIZER)
    if usual:
        assert cfg.optimizer.momentum == cfg.schedule.warmup == 0
        assert (cfg.optimizer.weight_decay == 0) == (experiment != "weight_decay")


# What is read beside what: the same networks, data, steps, learning rates and seeds.
BESIDE = [
    ("placement", "lr_by_init_vgg", {"experiment", "model.placement", "norm", "init"}),
    ("depth_remedies", "depth_resnet", {"experiment", "norm", "init"}),
    ("depth_zero_gamma", "depth_resnet", {"experiment", "norm", "init"}),
]


@pytest.mark.parametrize("scale", options("scale"))
@pytest.mark.parametrize(("experiment", "beside", "but"), BESIDE)
def test_what_is_read_beside_another_experiment_differs_in_no_more(experiment, beside, but, scale):
    (cfg, swept), (other, others) = axes(experiment, scale), axes(beside, scale)
    for key in set(swept) - but:
        assert swept[key] == others[key]
    flat, expected = flattened(cfg), flattened(other)
    differing = {key for key in flat.keys() | expected.keys() if flat.get(key) != expected.get(key)}
    of_axes = {key for key in differing if any(key.startswith(name) for name in but)}
    assert differing == of_axes


def flattened(cfg: DictConfig) -> dict[str, object]:
    """The resolved config of the run, a value for each path."""
    container = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]))
    flat, waiting = {}, [("", container)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
        else:
            flat[path] = value
    return flat


def test_the_published_resnet():
    """He et al. 2016, section 4.2."""
    cfg = config("experiment=resnet_baseline", "scale=paper")
    assert (cfg.model.depth, cfg.model.width, cfg.model.shortcut) == (20, 1.0, "A")
    assert (cfg.steps, cfg.batch_size, cfg.data.augment) == (64000, 128, True)
    assert (cfg.optimizer.lr, cfg.optimizer.momentum, cfg.optimizer.weight_decay) == (
        0.1,
        0.9,
        1e-4,
    )
    schedule = instantiate(cfg.schedule)
    factors = [schedule(step, cfg.steps) for step in (0, 31999, 32000, 47999, 48000, 63999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("group", ["model", "norm", "init", "optimizer"])
def test_every_option_builds_and_takes_a_step(group):
    for option in options(group):
        model = option if group == "model" else "vgg"
        norm = option if group == "norm" else "batch"
        more = [f"{group}={option}"] if group in ("init", "optimizer") else []
        cfg = small_config(model, norm, *more)
        data, network, optimizer = build(cfg)
        batch = data.batch(0, cfg.batch_size, 0)
        loss = data.criterion(network(batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)


def test_the_arms_differ_in_the_norm_alone():
    with_norm, without = (
        config("experiment=vgg", "norm=batch"),
        config("experiment=vgg", "norm=none"),
    )
    differing = {key for key in with_norm if with_norm[key] != without[key]}
    assert differing == {"norm"}


def test_the_papers_numbers():
    """PAPER: appendix A.1 of Santurkar et al. 2018; figure 11 for the step sizes."""
    vgg = config("experiment=vgg", "scale=paper")
    assert (vgg.steps, vgg.batch_size, vgg.model.width, vgg.data.augment) == (
        15000,
        128,
        1.0,
        False,
    )
    assert (vgg.optimizer.momentum, vgg.optimizer.weight_decay) == (0.0, 0.0)
    assert vgg.probes.landscape.multiples == [0.5, 1, 2, 4]
    noise = config("norm=noisy_batch").norm
    assert (noise.n_mu, noise.n_sigma, noise.r_mu, noise.r_sigma) == (0.5, 1.25, 0.1, 0.1)
    assert config("norm=noise").norm.items() <= noise.items() | {
        ("_target_", "bnstudy.norms.Noise")
    }
    assert [config(f"norm={norm}").norm.p for norm in ("l1", "l2", "linf")] == [1, 2, inf]
    linear = config("experiment=deep_linear", "scale=paper")
    assert (linear.steps, linear.batch_size, linear.model.depth) == (10000, 1000, 25)
    assert (linear.data.samples, linear.data.dim, linear.optimizer.lr) == (1000, 10, 1e-6)
    multiples = linear.probes.landscape.multiples
    assert multiples[:4] == [0.01, 0.1, 1, 10] and multiples[4] == pytest.approx(10**1.5)


def test_no_probes_is_no_probes():
    assert instantiate(config("probes=[]").probes, _convert_="all") == {}
