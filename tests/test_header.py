"""The header of a record: one for all that write it; identity of config and data."""

import json
from dataclasses import fields

import made_up
import pytest
from conftest import CONFIGS, config
from hydra.utils import instantiate
from omegaconf import OmegaConf

from bnstudy import digests
from bnstudy.record import KNOWN_BY_OPTIONS, NOT_SCIENCE, DataFacts, Header, fingerprint

TINY = ["steps=1", "model.width=0.0625", "batch_size=8", "data.held_out=100", "probe_every=2"]
QUIET = ["wandb.mode=disabled", "progress=none", "device=cpu", "threads=1"]


def shape(value):
    """The types of what a header holds, by key; lists by their first entry."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_made_up_headers_are_as_runs_write_them(tmp_path, zygote):
    done = zygote.call(tmp_path, "train.py", *TINY, *QUIET)
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.rglob("run.jsonl")
    real = json.loads(record.read_text().splitlines()[0])["header"]
    made = made_up.make_header("vgg", "batch", 0.1, 0)
    assert set(made) == set(real) == {field.name for field in fields(Header)}
    for key in set(real) - {"config", "choices", "versions"}:
        assert shape(made[key]) == shape(real[key]), key
    assert set(made["config"]) <= set(real["config"])
    assert set(made["choices"]) <= set(real["choices"])
    assert real["data"] | {"digest": "", "train_samples": 0, "test_samples": 0} == made["data"] | {
        "digest": "",
        "train_samples": 0,
        "test_samples": 0,
    }


def test_made_up_data_has_the_names_that_data_sets_give():
    for option in ("digits", "deep_linear"):
        facts = instantiate(config(f"data={option}").data).facts()
        assert made_up.FACTS[option] == DataFacts(**{**vars(facts), "digest": "0" * 16})
    assert made_up.FACTS["cifar10"].name == "CIFAR-10"  # the name that bnstudy.data.cifar10 gives


def test_every_data_set_is_known_by_its_options_or_told_by_its_content():
    for path in (CONFIGS / "data").glob("*.yaml"):
        target = OmegaConf.load(path)._target_
        told = ("image_folder", "text")  # another Python has another text
        assert (target in KNOWN_BY_OPTIONS) != (path.stem in told)


def test_a_fingerprint_is_of_science_and_content():
    own = {"seed": 0, "data": {"_target_": "x", "root": "a"}, "device": "cpu"}
    same = fingerprint(own, "1")
    assert fingerprint(own | {"device": "cuda"}, "1") == same
    assert fingerprint(own | {"data": {"_target_": "x", "root": "b"}}, "1") == same
    assert fingerprint(own, "2") != same != fingerprint(own)
    assert fingerprint(own | {"seed": 1}, "1") != same
    assert "memory_format" in NOT_SCIENCE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "images"
    (root / "train").mkdir(parents=True)
    (root / "train" / "a.png").write_bytes(b"one")
    return root


def test_a_digest_is_known_until_a_file_changes(folder):
    options = {"_target_": "x", "root": str(folder), "name": None}
    assert digests.known_digest(options) is None
    digests.remember_digest(options, "abc")
    assert digests.known_digest(options) == "abc"
    assert digests.known_digest(options | {"name": "other"}) == "abc"
    assert digests.known_digest(options | {"image_size": 8}) is None
    (folder / "train" / ".hidden").write_bytes(b"cache")
    assert digests.known_digest(options) == "abc"
    (folder / "train" / "b.png").write_bytes(b"two")
    assert digests.known_digest(options) is None
    (folder / "train" / "b.png").unlink()
    assert digests.known_digest(options) == "abc"
    (folder / "train" / "a.png").write_bytes(b"1")
    assert digests.known_digest(options) is None


def test_links_are_followed_once(folder):
    (folder / "train" / "loop").symlink_to(folder)
    options = {"root": str(folder)}
    digests.remember_digest(options, "abc")
    assert digests.known_digest(options) == "abc"


def test_a_folder_that_is_gone_is_named(folder):
    with pytest.raises(FileNotFoundError, match="data.root=.*gone is no folder"):
        digests.known_digest({"root": str(folder / "gone")})


def test_a_digest_that_cannot_be_kept_is_computed_again(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    options = {"root": str(folder)}
    digests.remember_digest(options, "abc")
    assert digests.known_digest(options) is None
