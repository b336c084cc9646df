"""Runs read back from their records, and which of them may be compared."""

import csv
import gzip
import io
import json
import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from records_of_runs import HEADER, record

from bnstudy import results
from bnstudy.results import Run


def variant(directory: Path, arm: str, seed: int, **config: object) -> Run:
    """A run that says nothing but its config, changed here and there."""
    header = made_up.make_header("deep_linear", arm, 1e-6, seed)
    header["config"] |= config
    return results.load_run(made_up.write_record(directory, header, [{"step": 0}]))


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    run = record(tmp_path / "a", [{"step": 0, "train/loss": 2.0}])
    assert (run.experiment, run.scale, run.norm, run.lr, run.seed) == (
        "vgg",
        "demo",
        "batch",
        0.1,
        3,
    )
    assert (run.batch_size, run.layers[-1], run.outcome) == (64, "layer14", "finished")
    assert run.choices["init"] == "xavier_uniform"
    assert run.directory == tmp_path / "a"


@pytest.mark.parametrize(
    ("experiment", "model", "label"),
    [
        ("vgg", {"width": 0.125}, "VGG-16, width 1/8, on digits; batch 64; scale demo"),
        ("vgg", {"width": 1.0}, "VGG-16 on digits; batch 64; scale demo"),
        ("deep_linear", {}, "25-layer deep linear network; batch 1000; scale demo"),
    ],
)
def test_label(tmp_path: Path, experiment: str, model: made_up.Line, label: str) -> None:
    header = made_up.make_header(experiment, "batch", 0.1, 0)
    header["config"]["model"] |= model
    assert results.load_run(made_up.write_record(tmp_path, header, [{"step": 0}])).label == label


def test_a_metric_is_the_steps_that_have_it_and_their_values(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "train/loss": 2.0, "landscape/loss": [1.0, 2.0]},
        {"step": 1, "train/loss": math.nan},
        {"step": 2, "train/loss": -math.inf, "landscape/loss": [math.inf, 3.0]},
    ]
    run = record(tmp_path, lines)
    steps, values = run["train/loss"]
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(values, [2.0, np.nan, -np.inf])
    steps, values = run["landscape/loss"]
    np.testing.assert_array_equal(steps, [0, 2])
    np.testing.assert_array_equal(values, [[1.0, 2.0], [np.inf, 3.0]])
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)
    assert run.keys() == ["train/loss", "landscape/loss"]
    assert "train/loss" in run
    assert "test/loss" not in run


def test_an_absent_metric_is_a_key_error_that_names_the_nearest(tmp_path: Path) -> None:
    run = record(tmp_path, [{"step": 0, "time": 0.0, "train/loss": 2.0, "landscape/loss": [1.0]}])
    with pytest.raises(KeyError, match="no trian/loss; nearest: train/loss"):
        run["trian/loss"]


@pytest.mark.parametrize("outcome", ["finished", "diverged", "interrupted"])
def test_outcome(tmp_path: Path, outcome: str) -> None:
    assert record(tmp_path, [{"step": 0, "train/loss": 2.0}], outcome=outcome).outcome == outcome


@pytest.mark.parametrize(
    "torn", ['{"step": 1, "train/lo', '{"end": {"outc', "\x00\x00", '{"a": "é']
)
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: str) -> None:
    run = record(tmp_path, [{"step": 0, "train/loss": 2.0}], outcome="interrupted", torn=torn)
    assert run.outcome == "interrupted"
    assert run["train/loss"][0].tolist() == [0]


def test_a_last_line_torn_within_a_letter_is_left_out(tmp_path: Path) -> None:
    made_up.write_record(tmp_path, HEADER, [{"step": 0, "train/loss": 2.0}], "interrupted")
    with (tmp_path / "run.jsonl").open("ab") as file:
        file.write('{"a": "é'.encode()[:-1])
    assert results.load_run(tmp_path).keys() == ["train/loss"]


def test_any_other_broken_line_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    made_up.write_record(tmp_path, HEADER, [{"step": 0, "train/loss": 2.0}])
    path = tmp_path / "run.jsonl"
    path.write_text(path.read_text().replace('{"step": 0', '{"step" 0'))
    with pytest.raises(ValueError, match=r"run\.jsonl: line 2 is broken"):
        results.load_run(tmp_path)


@pytest.mark.parametrize("first", ["", "{", "[]", "3", '{"step": 0}', '{"header": 3}'])
def test_a_broken_header_is_an_error_that_names_the_file(tmp_path: Path, first: str) -> None:
    (tmp_path / "run.jsonl").write_text(first + '\n{"step": 0}\n')
    with pytest.raises(ValueError, match=r"run\.jsonl: the first line is no header"):
        results.load_run(tmp_path)


def test_a_header_that_lacks_something_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text('{"header": {"experiment": "vgg", "scale": "demo"}}\n')
    with pytest.raises(
        ValueError, match=r"run\.jsonl: the header lacks choices, config, data, layers"
    ):
        results.load_run(tmp_path)


def test_load_runs_reads_all_of_an_experiment_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        made_up.write_record(tmp_path / "vgg" / name, HEADER, [{"step": 0}])
    made_up.write_record(tmp_path / "vgg" / "c", HEADER, [{"step": 0}], outcome="interrupted")
    made_up.write_record(tmp_path / "deep_linear" / "d", HEADER, [{"step": 0}])
    (tmp_path / "vgg" / "not a run").mkdir()
    (tmp_path / "vgg" / "starting").mkdir()
    (tmp_path / "vgg" / "starting" / "run.jsonl").touch()
    runs = results.load_runs("vgg", tmp_path)
    assert [run.directory.name for run in runs] == ["a", "b", "c"]
    assert results.load_runs("resnet", tmp_path) == []


def test_load_runs_refuses_a_broken_record(tmp_path: Path) -> None:
    (tmp_path / "vgg" / "a").mkdir(parents=True)
    (tmp_path / "vgg" / "a" / "run.jsonl").write_text('{"head')
    with pytest.raises(ValueError, match=r"a.run\.jsonl"):
        results.load_runs("vgg", tmp_path)


def compress(directory: Path) -> Path:
    """Put a run's `run.jsonl.gz` in the place of its `run.jsonl`."""
    plain, compressed = (directory / name for name in results.RECORDS)
    compressed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    return compressed


def test_a_compressed_record_is_the_same_run(tmp_path: Path) -> None:
    lines: list[made_up.Line] = [{"step": step, "train/loss": 1 / 3 + step} for step in range(3)]
    torn = '{"step": 3, "train/lo'
    plain = record(tmp_path, lines, outcome="interrupted", torn=torn)
    compress(tmp_path)
    read = results.load_run(tmp_path)
    assert (read.header, read.outcome) == (plain.header, "interrupted")
    np.testing.assert_equal(read.records, plain.records)


def test_of_both_records_the_plain_one_counts(tmp_path: Path) -> None:
    record(tmp_path / "vgg" / "a", [{"step": 0, "train/loss": 2.0}])
    compress(tmp_path / "vgg" / "a")
    record(tmp_path / "vgg" / "a", [{"step": 0, "train/loss": 3.0}])
    (run,) = results.load_runs("vgg", tmp_path)
    assert run["train/loss"][1].tolist() == [3.0]
    (tmp_path / "vgg" / "a" / "run.jsonl").write_text("")  # the run is just starting again
    assert results.load_runs("vgg", tmp_path) == []


def test_load_runs_reads_compressed_records_among_the_others(tmp_path: Path) -> None:
    for name in ("c", "b", "a"):
        made_up.write_record(tmp_path / "vgg" / name, HEADER, [{"step": 0}])
    compress(tmp_path / "vgg" / "b")
    runs = results.load_runs("vgg", tmp_path)
    assert [run.directory.name for run in runs] == ["a", "b", "c"]


WHOLE = gzip.compress(b'{"header": 3}\n', mtime=0)


@pytest.mark.parametrize(
    "broken",
    [b"{", WHOLE[:4], WHOLE[:-9], WHOLE[:10] + b"\xff" * 20],
    ids=["other", "header", "torn", "garbled"],
)
def test_a_broken_compressed_record_is_an_error_that_names_the_file(
    tmp_path: Path, broken: bytes
) -> None:
    (tmp_path / "run.jsonl.gz").write_bytes(broken)
    with pytest.raises(ValueError, match=r"run\.jsonl\.gz: this is no whole gzip file"):
        results.load_run(tmp_path)


def test_a_broken_line_of_a_compressed_record_names_the_file(tmp_path: Path) -> None:
    record(tmp_path, [{"step": 0, "train/loss": 2.0}])
    path = tmp_path / "run.jsonl"
    path.write_text(path.read_text().replace('{"step": 0', '{"step" 0'))
    compress(tmp_path)
    with pytest.raises(ValueError, match=r"run\.jsonl\.gz: line 2 is broken"):
        results.load_run(tmp_path)


def test_the_committed_records_are_whole_and_name_no_path_of_a_machine() -> None:
    folder = Path(__file__).parent.parent / "results" / "reference" / "records"
    paths = sorted(folder.glob("*/*/run.jsonl.gz"))
    assert paths
    assert sum(path.stat().st_size for path in paths) < 2_500_000
    for path in paths:
        run = results.load_run(path.parent)
        assert run.outcome != "interrupted" and run.experiment == path.parts[-3]
        header = json.dumps(run.header)
        assert '"/' not in header and ":\\\\" not in header, path


def test_a_long_record_loads_quickly(tmp_path: Path) -> None:
    probes = {f"activations/histogram/layer{i}": [[123] * 40] * 4 for i in range(16)}
    lines = [
        {"step": step, "time": 0.1 * step, "train/loss": 1.234567, "train/accuracy": 0.9}
        | (probes if step % 100 == 0 else {})
        for step in range(15_000)
    ]
    made_up.write_record(tmp_path, HEADER, lines)
    start = time.process_time()
    run = results.load_run(tmp_path)
    assert run["activations/histogram/layer3"][1].shape == (150, 4, 40)
    assert time.process_time() - start < 2


def test_comparable_runs_differ_in_norm_lr_and_seed_only(tmp_path: Path) -> None:
    made_up.write_runs(tmp_path, seeds=(0, 1))
    grid = results.load_runs("deep_linear", tmp_path)
    assert results.comparable(grid) == grid
    other = variant(tmp_path / "other", "batch", 2, steps=7)
    assert results.comparable([other, *grid]) == grid
    elsewhere = variant(tmp_path / "elsewhere", "batch", 2, results="elsewhere", device="cuda")
    assert results.comparable([*grid, elsewhere]) == [*grid, elsewhere]


def test_comparable_runs_of_an_arm_have_one_config_of_its_norm(tmp_path: Path) -> None:
    usual = [variant(tmp_path / str(seed), "batch", seed) for seed in (0, 1)]
    unusual = variant(tmp_path / "eps", "batch", 2, norm={"_target_": "batch", "eps": 0.1})
    plain = variant(tmp_path / "plain", "none", 0)
    assert results.comparable([unusual, plain, *usual]) == [plain, *usual]
    assert results.comparable([]) == []


def test_experiments_and_what_they_record_make_no_difference(tmp_path: Path) -> None:
    made_up.write_runs(tmp_path, seeds=(0,))
    together = [run for name in ("vgg", "vgg_noise") for run in results.load_runs(name, tmp_path)]
    assert len({run.experiment for run in together}) == 2
    assert results.comparable(together) == together
    rare = {"probes": {"landscape": {"multiples": [1.0], "every": 99}}, "probe_every": 99}
    often = {"probes": {"landscape": {"multiples": [1.0], "every": 1}, "activations": {"units": 4}}}
    runs = [
        variant(tmp_path / "rare", "l1", 0, **rare, test_every=0),
        variant(tmp_path / "often", "l1", 1, **often, test_every=9),
        variant(tmp_path / "never", "l1", 2, probes={}),
    ]
    assert results.comparable(runs) == runs


def test_what_a_probe_measures_makes_a_difference(tmp_path: Path) -> None:
    def landscape(name: str, seed: int, multiples: list[float]) -> Run:
        probes = {"landscape": {"multiples": multiples}}
        return variant(tmp_path / name, "l1", seed, probes=probes)

    runs = [landscape("a", 0, [1.0]), landscape("b", 1, [2.0]), landscape("c", 2, [1.0])]
    without = variant(tmp_path / "d", "l1", 3, probes={})
    assert results.comparable([*runs, without]) == [runs[0], runs[2], without]


def test_a_training_counts_once_with_the_run_that_recorded_most(tmp_path: Path) -> None:
    header = made_up.make_header("deep_linear", "l1", 1e-6, 0)
    lines: list[made_up.Line] = [{"step": step, "train/loss": 1.0} for step in range(3)]
    less = results.load_run(made_up.write_record(tmp_path / "less", header, lines[:2]))
    more = results.load_run(made_up.write_record(tmp_path / "more", header, lines))
    same = results.load_run(made_up.write_record(tmp_path / "same", header, lines))
    next_seed = variant(tmp_path / "next", "l1", 1)
    assert results.comparable([less, more, same, next_seed]) == [more, next_seed]


def test_the_keys_that_make_no_difference_are_keys_of_the_configs() -> None:
    configs = Path(__file__).parent.parent / "configs"

    def keys(*paths: Path) -> set[str]:
        lines = [line for path in paths for line in path.read_text().splitlines()]
        return {line.split(":")[0].strip(" -") for line in lines if ":" in line}

    assert keys(configs / "train.yaml") >= {*results.NOT_SCIENCE, *results.MEASURING}
    assert keys(*configs.glob("data/*.yaml")) >= set(results.NOT_SCIENCE_OF_DATA)
    assert keys(*configs.glob("probes/*.yaml")) >= set(results.EXTENT_OF_PROBES)


def test_the_made_up_runs_are_strict_json(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    made_up.write_runs(tmp_path, seeds=(1,))
    for path in tmp_path.glob("*/*/run.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def test_only_the_keys_that_are_asked_for_are_kept(tmp_path: Path) -> None:
    lines = [
        {"step": s, "train/loss": 1.0 * s, "landscape/loss": [1, 2], "time": 0.1} for s in (0, 1)
    ]
    record(tmp_path, lines)
    run = results.load_run(tmp_path, keys=("train/", "landscape/lo"))
    assert run.keys() == ["train/loss", "landscape/loss"]
    assert run["landscape/loss"][1].tolist() == [[1, 2], [1, 2]]
    assert run.outcome == "finished"


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2, "NaN", "Infinity"],
        [[1.0, 2.0], ["NaN", 3], ["-Infinity", 4]],
        [[[1, 2], [3, 4]], [[5, 6], ["NaN", 8]]],
        [[], []],
        [True, 0.5],
    ],
)
def test_values_are_read_as_numbers_whatever_json_makes_of_them(
    tmp_path: Path, values: list[Any]
) -> None:
    record(tmp_path, [{"step": step, "own/x": value} for step, value in enumerate(values)])
    read = results.load_run(tmp_path)["own/x"][1]
    np.testing.assert_array_equal(read, np.array(values, dtype=np.float64))
    with pytest.raises(ValueError, match="read-only"):
        read[...] = 0


def test_a_key_without_numbers_hides_no_other(tmp_path: Path) -> None:
    values = [1.0, "a word", [1.0, 2.0], {"a": 1}]
    lines = [{"step": s, "own/x": value, "own/y": 1.0} for s, value in enumerate(values)]
    record(tmp_path, lines)
    run = results.load_run(tmp_path)
    assert run.records["own/x"][1] == values
    assert run["own/y"][1].tolist() == [1.0] * 4
    with pytest.raises((TypeError, ValueError)):
        run["own/x"]


def test_reading_takes_little_more_memory_than_the_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        {"step": s, "train/loss": 1.0, "own/histogram": rng.integers(99, size=(8, 40)).tolist()}
        for s in range(500)
    ]
    record(tmp_path, lines)
    results.load_run(tmp_path)  # what is imported and cached once does not count
    tracemalloc.start()
    run = results.load_run(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * sum(values.nbytes for _, values in run.records.values())


def test_the_table_has_a_row_per_run_with_the_last_of_every_scalar(tmp_path: Path) -> None:
    lines = [{"step": s, "train/loss": 1 / (s + 3), "landscape/loss": [1, 2]} for s in (0, 1)]
    rows = results.table([record(tmp_path, lines)])
    assert rows[0]["train/loss"] == 1 / 4
    assert rows[0]["outcome"] == "finished"
    assert "landscape/loss" not in rows[0]
    text = results.to_csv([*rows, {"norm": "mine", "own/x": 1 / 3}])
    assert [row["own/x"] for row in csv.DictReader(io.StringIO(text))] == ["", "0.333333"]
