"""Configs: every option composes and builds; the arms of a comparison differ in one value."""

import pytest
import torch
from conftest import CONFIGS, build, config, options, small_config
from hydra.utils import instantiate
from omegaconf import OmegaConf

GROUPS = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())
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
    linear = config("experiment=deep_linear", "scale=paper")
    assert (linear.steps, linear.batch_size, linear.model.depth) == (10000, 1000, 25)
    assert (linear.data.samples, linear.data.dim, linear.optimizer.lr) == (1000, 10, 1e-6)
    multiples = linear.probes.landscape.multiples
    assert multiples[:4] == [0.01, 0.1, 1, 10] and multiples[4] == pytest.approx(10**1.5)


def test_no_probes_is_no_probes():
    assert instantiate(config("probes=[]").probes, _convert_="all") == {}
