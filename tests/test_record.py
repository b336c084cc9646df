"""The record: what is written comes back, through crashes too, and is never another run's."""

import json
import math
from contextlib import closing

import pytest
import torch

from bnstudy.record import Recorder, count_steps, read_header, read_outcome

HEADER = {"fingerprint": "a", "config": {"lr": 0.1, "model": {"depth": 2}}}


def text(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "run.jsonl").read_text().splitlines()]


def test_everything_logged_is_in_the_record_in_order(tmp_path):
    recorder = Recorder(tmp_path, HEADER)
    for step in range(250):
        assert recorder.log(step, {"train/loss": torch.tensor(1.5), "probe/x": torch.ones(2, 2)})
    assert recorder.flush()
    recorder.end("finished")
    recorder.close()
    header, *steps, end = text(tmp_path)
    assert header == {"header": HEADER}
    assert [line["step"] for line in steps] == list(range(250))
    assert steps[0]["train/loss"] == 1.5 and steps[0]["probe/x"] == [[1, 1], [1, 1]]
    assert end["end"]["outcome"] == "finished" and end["end"]["step"] == 249
    assert read_outcome(tmp_path / "run.jsonl") == "finished"


def test_lines_reach_the_disk_before_the_run_ends(tmp_path):
    with closing(Recorder(tmp_path, HEADER)) as recorder:
        for step in range(100):
            recorder.log(step, {"train/loss": 1.0})
        assert len(text(tmp_path)) == 101


def test_numbers_come_back_exactly_and_what_is_not_finite_survives(tmp_path):
    values = torch.tensor([0.1, 1 / 3, math.nan, math.inf, -math.inf])
    with closing(Recorder(tmp_path, HEADER)) as recorder:
        recorder.log(0, {"train/loss": 0.1 + 0.2, "probe/x": values})
        recorder.flush()
    line = (tmp_path / "run.jsonl").read_text().splitlines()[1]
    parsed = json.loads(line, parse_constant=pytest.fail)  # strict JSON has no NaN
    assert parsed["train/loss"] == 0.1 + 0.2
    back = torch.tensor([float(x) for x in parsed["probe/x"]])
    assert torch.equal(back.nan_to_num(7.0), values.nan_to_num(7.0))


def test_the_first_loss_that_is_not_finite_is_the_last_line(tmp_path):
    recorder = Recorder(tmp_path, HEADER)
    for step, loss in enumerate([1.0, math.inf, 1.0]):
        recorder.log(step, {"train/loss": torch.tensor(loss)})
    assert not recorder.flush()
    recorder.end("diverged")
    recorder.close()
    _, first, last, end = text(tmp_path)
    assert (first["step"], last["step"], last["train/loss"]) == (0, 1, "Infinity")
    assert end["end"] == {"outcome": "diverged", "step": 1, "seconds": end["end"]["seconds"]}


def write(directory, steps: int, torn: str = "") -> None:
    recorder = Recorder(directory, HEADER)
    for step in range(steps):
        recorder.log(step, {"train/loss": float(step)})
    recorder.flush()
    recorder.close()
    with (directory / "run.jsonl").open("a") as file:
        file.write(torn)


@pytest.mark.parametrize("torn", ["", '{"step": 5, "train/lo', '{"end": {"outcome": "fini'])
def test_resuming_drops_what_came_after_the_checkpoint(tmp_path, torn):
    write(tmp_path, 5, torn)
    with closing(Recorder(tmp_path, HEADER, step=3)) as recorder:
        for step in range(3, 6):
            recorder.log(step, {"train/loss": -1.0})
        recorder.flush()
    _, *steps = text(tmp_path)
    assert [line["step"] for line in steps] == list(range(6))
    assert [line["train/loss"] for line in steps] == [0, 1, 2, -1, -1, -1]
    times = [line["time"] for line in steps]
    assert times == sorted(times)  # the clock goes on where the record was cut


@pytest.mark.parametrize(
    "torn", ["", '{"step": 5, "train/loss": 1', '{"step": 5, "test/loss": 1}\n']
)
def test_the_steps_of_a_record_are_counted_without_a_torn_last_line(tmp_path, torn):
    assert count_steps(tmp_path / "run.jsonl") == 0
    write(tmp_path, 5, torn)
    assert count_steps(tmp_path / "run.jsonl") == 5


def test_a_torn_header_is_no_record(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"header": {"finger')
    assert read_header(tmp_path / "run.jsonl") is None
    assert count_steps(tmp_path / "run.jsonl") == 0
    write(tmp_path, 1)
    assert len(text(tmp_path)) == 2


def test_another_config_is_refused_with_the_difference_and_left_alone(tmp_path):
    write(tmp_path, 2)
    before = (tmp_path / "run.jsonl").read_bytes()
    other = {"fingerprint": "b", "config": {"lr": 0.5, "model": {"depth": 2}, "new": 1}}
    expected = "holds a run of another config .lr: 0.1 there, 0.5 here; new: absent there, 1 here"
    with pytest.raises(FileExistsError, match=expected):
        Recorder(tmp_path, other)
    assert (tmp_path / "run.jsonl").read_bytes() == before


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "run.jsonl").write_text("my notes\n")
    with pytest.raises(ValueError, match="run.jsonl is not a record of bnstudy"):
        Recorder(tmp_path, HEADER)
    assert (tmp_path / "run.jsonl").read_text() == "my notes\n"


def test_mirrors_see_each_line_and_how_it_ended(tmp_path):
    for ended, last in ((True, "finished"), (False, "interrupted")):
        seen: list[dict] = []
        recorder = Recorder(tmp_path / last, HEADER, mirrors=[seen.append])
        recorder.log(0, {"train/loss": torch.tensor(math.nan), "probe/x": torch.ones(2)})
        recorder.flush()
        if ended:
            recorder.end("finished")
        recorder.close()
        assert [next(iter(line)) for line in seen] == ["header", "step", "end"]
        assert math.isnan(seen[1]["train/loss"]) and seen[1]["probe/x"] == [1, 1]
        assert seen[2]["end"]["outcome"] == last
        assert read_outcome(tmp_path / last / "run.jsonl") == ("finished" if ended else None)


def test_a_resumed_record_shows_its_mirrors_all_lines_in_order(tmp_path):
    with closing(Recorder(tmp_path, HEADER)) as recorder:
        for step in range(5):
            recorder.log(step, {"train/loss": 1.0})
        recorder.flush()
    seen = []
    recorder = Recorder(tmp_path, HEADER, step=3, mirrors=[seen.append])
    recorder.log(3, {"train/loss": 2.0})
    recorder.flush()
    recorder.end("finished")
    recorder.close()
    assert seen == text(tmp_path)
    assert [line["step"] for line in seen[1:-1]] == [0, 1, 2, 3]
