"""Every option of every group with odd values: it is of the right type, or a sentence names it."""

import math
import sys
from functools import cache
from itertools import cycle
from typing import Any

import pytest
from conftest import CONFIGS, config, options
from omegaconf import DictConfig, OmegaConf, open_dict

from bnstudy.app import overrides, schema
from bnstudy.app.train import CANNOT_START, run_name, sentence

ODD = [
    *(None, True, False, "no", "off", "abc", "", " ", "1", "null2", "~/x", "$HOME/x"),
    *(-1, 0, 1.5, 20.0, 2**64, 1e40, math.nan, math.inf, -math.inf),
    *([], [1.5], [None], ["a", "a"], {"a": 1}),
]
# Configs that have every option of every group between them, and every probe.
COUNT = max(len(options(group)) for group in schema.GROUPS)
MIXTURES = [
    (
        *(f"{group}={options(group)[n % len(options(group))]}" for group in schema.GROUPS),
        f"probes=[{','.join(options('probes')[n::COUNT])}]",
    )
    for n in range(COUNT)
]


@cache
def composed(mixture: tuple[str, ...]) -> DictConfig:
    cfg = config(*mixture)
    OmegaConf.resolve(cfg)  # which takes most of the time of a check
    return cfg


def leaves(node: Any, prefix: str = "") -> list[str]:
    if not OmegaConf.is_dict(node):
        return [prefix.removesuffix(".")]
    return [leaf for key in node for leaf in leaves(node._get_node(key), f"{prefix}{key}.")]


def cases() -> list[tuple[tuple[str, ...], str, Any]]:
    """Mixture, key and value: eight values for every key of every constructor, in turns."""
    seen: set[tuple[str, str]] = set()
    some: list[tuple[tuple[str, ...], str, Any]] = []
    values = cycle(ODD)
    for mixture in MIXTURES:
        cfg = composed(mixture)
        for key in leaves(cfg):
            if key.startswith(("model.network", "scale.")) or "_target_" in key:
                continue
            section = OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
            constructor = (str(section.get("_target_", "")), key)
            if constructor not in seen:
                seen.add(constructor)
                some += [(mixture, key, next(values)) for _ in range(8)]
    return some


def kind_of(value: Any) -> str:
    """A class of values, as a default tells it."""
    if isinstance(value, bool) or value is None:
        return "bool" if value is not None else "none"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if OmegaConf.is_list(value) or isinstance(value, list) else type(value).__name__


def refusal(cfg: DictConfig) -> str | None:
    """What the command says of a config; None if it would build it."""
    try:
        schema.check(cfg)
        schema.check_options(cfg)
    except CANNOT_START as error:
        return sentence(error)
    return None


@pytest.mark.parametrize("mixture", MIXTURES)
def test_what_is_there_is_of_the_right_type(mixture):
    assert refusal(composed(mixture)) is None


def test_an_odd_value_is_of_the_right_type_or_refused_by_name():
    tried = cases()
    assert len(tried) >= 700
    for mixture, key, value in tried:
        cfg = composed(mixture)
        default = OmegaConf.select(cfg, key)
        with open_dict(cfg):
            OmegaConf.update(cfg, key, value, merge=False)
        said = refusal(cfg)
        OmegaConf.update(cfg, key, default, merge=False)
        if said is not None:
            assert "\n" not in said and key in said, (key, value, said)
        elif default is not None and value is not None:
            finite = not isinstance(value, float) or math.isfinite(value) or key == "norm.p"
            assert kind_of(value) == kind_of(default) and finite, (key, value)


def test_every_key_of_the_config_has_a_type():
    root = OmegaConf.load(CONFIGS / "train.yaml")
    groups = [key for entry in root.defaults if entry != "_self_" for key in entry]
    keys = {*root, *groups} - {"defaults", "hydra", "sweep", "override hydra/job_logging"}
    assert keys == {*schema.Root.__annotations__, *schema.GROUPS, "probes", "scale", "wandb"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["norm=null"], "norm=null: norm must be one of batch,"),
        (["schedule=5"], "schedule=5: schedule must be one of constant,"),
        (["optimizer=[sgd]"], "optimizer must be one of adam,"),
        (["optimizer={lr:0.1}"], "optimizer must be one of adam,"),
        (["norm=batch.yaml"], "norm must be one of batch,"),
        (["norm=../norm/batch"], "norm must be one of batch,"),
        (["experiment=[vgg,norms]"], "experiment must be one of"),
        (["~norm"], "~norm: no run goes without norm"),
        (["~sweep"], "sweep=[]"),
        (["probes=[moments]", "+probes=[weights]"], "list all probes in one of these"),
        (["probes=[weights,weights]"], "must not have anything twice"),
        (["hydra/launcher=null"], "hydra/launcher must be the name of one of its options"),
        (["+probes=5"], "+probes=5: probes must be one of activations,"),
        (["+experiment=vgg"], "a group is chosen without +, experiment=vgg."),
        (["norm=none,batch"], "norm=none,batch has several values: -m makes a run of each"),
        (["seed=range(3)"], "seed=range(3) has several values: -m"),
        (["results=~/runs"], "write \"results='~/runs'\""),
        (["=5"], "names no key"),
        (["nosuch"], "write KEY=VALUE"),
        (["experiment=vgg", "experiment=norms"], "a run belongs to one experiment"),
    ],
)
def test_what_hydra_would_misread_is_refused(words, said):
    with pytest.raises(ValueError, match="(?s).*") as refused:
        overrides.read(words, multirun=False)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        *("experiment=vgg,vgg_lp", "experiment=glob(*)", "experiment=choice(vgg,norms)"),
        *("scale=demo,small", "sweep=norm,norm_lp", "scale.images.seeds=0,1"),
        *("+hydra.sweeper.params.experiment='vgg,norms'", "hydra.mode=RUN,MULTIRUN"),
    ],
)
def test_a_grid_that_would_come_from_elsewhere_is_refused(word):
    with pytest.raises(ValueError, match="grid"):
        overrides.read([word], multirun=True)


def test_more_probes_and_other_probes_are_two_runs():
    choices = {"model": "vgg", "norm": "batch", "init": "kaiming"}
    words = (["probes=[moments]"], ["+probes=[moments]"], [])
    assert len({run_name(config(), choices, own) for own in words}) == 3


def test_a_sweep_is_asked_for_anywhere_among_the_overrides(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "steps=1", "-m", "seed=0,1"])
    overrides.read_command_line()
    assert sys.argv == ["train.py", "-m", "steps=1", "seed=0,1"]


def test_sweeps_over_what_grids_do_not_depend_on_are_read_as_they_are(monkeypatch):
    words = ["norm=none,batch", "seed=range(3)", "+probes=[moments]", "scale.vgg.depth=11,16"]
    assert overrides.read(words, multirun=True) == words
    monkeypatch.setenv("HOME", "/home/me")
    assert overrides.read(["results='~/runs'"], multirun=False) == ["results='/home/me/runs'"]
