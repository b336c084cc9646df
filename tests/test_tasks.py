"""Losses by hand, and which predictions are correct."""

import math

import pytest
import torch
from conftest import run, small_config
from torch.nn import functional as F

from bnstudy import tasks
from bnstudy.probes.drift import Drift
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape


def right(outputs, targets):
    found = tasks.correct(torch.tensor(outputs), torch.tensor(targets))
    return None if found is None else found.tolist()


def test_the_largest_output_wins():
    assert right([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]], [1, 2]) == [True, False]


def test_classes_of_every_position_in_either_place():
    outputs = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = outputs.argmax(1)
    targets[2, 3] = (targets[2, 3] + 1) % 3
    for layout in (outputs, outputs.transpose(1, 2)):
        found = tasks.correct(layout, targets)
        assert found is not None and found.sum() == 19 and len(found) == 20
        assert tasks.accuracy(layout, targets) == 19 / 20


def test_a_negative_index_is_no_sample():
    assert right([[1.0, 2.0], [3.0, 2.0]], [-100, 0]) == [True]


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
def test_the_sign_of_one_logit_is_its_label(kind):
    outputs = torch.tensor([2.0, -1.0, 0.5, -3.0])
    targets = torch.tensor([1, 0, 0, 1]).to(kind)
    for shape in ((4,), (4, 1)):
        for targets_shape in {(4,), shape}:
            found = tasks.correct(outputs.view(shape), targets.view(targets_shape))
            assert found is not None and found.flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize("labels", [3, 4, 5])
@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_several_labels_a_sample_count_one_by_one(labels, kind):
    outputs = torch.randn(4, labels, generator=torch.Generator().manual_seed(1))
    targets = (outputs > 0).to(kind)
    targets[0, 0] = 1 - targets[0, 0]
    targets[1] = 0 if labels != 3 else targets[1]
    expected = ((outputs > 0) == (targets > 0)).float().mean()
    assert tasks.accuracy(outputs, targets) == expected


def test_one_hot_targets_are_classes():
    outputs = torch.tensor([[0.2, 0.9], [0.2, 0.1], [-2.0, -1.0]])
    targets = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = tasks.correct(outputs, targets)
    assert found is not None and found.tolist() == [True, False, True]


def test_a_regression_has_no_correct_outputs():
    assert right([[1.0, 2.0]], [[0.5, 1.0]]) is None
    assert right([1.5], [0.5]) is None
    assert tasks.accuracy(torch.zeros(3, 2), torch.randn(3, 4)) is None
    assert tasks.accuracy((torch.zeros(3, 2),), torch.zeros(3).long()) is None


def test_outputs_that_are_nan_are_wrong_and_not_of_the_first_class():
    outputs = torch.full((4, 3), math.nan)
    assert tasks.accuracy(outputs, torch.zeros(4).long()) == 0
    outputs[0] = torch.tensor([1.0, 0.0, 0.0])
    outputs[1] = torch.tensor([1.0, math.nan, 0.0])
    assert tasks.accuracy(outputs, torch.zeros(4).long()) == 0.25
    assert right([math.nan, math.nan, 1.0], [0, 1, 1]) == [False, False, True]
    assert right([[math.inf, 0.0]], [0]) == [True]


def test_logits_of_a_mapping():
    outputs = {"logits": torch.tensor([[0.0, 1.0]])}
    assert tasks.accuracy(outputs, torch.tensor([1])) == 1


def test_losses_by_hand():
    outputs = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    targets = torch.tensor([0, 1])
    by_hand = (math.log(math.e + 1) - 1 + math.log(math.exp(0.5) + math.exp(2)) - 2) / 2
    torch.testing.assert_close(tasks.cross_entropy(outputs, targets), torch.tensor(by_hand))
    squared = 0.5 * (0 + 0 + 0.25 + 1) / 2
    assert tasks.one_hot_squared_error(outputs, targets) == squared
    smooth = tasks.cross_entropy(outputs, targets, label_smoothing=0.2)
    soft = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    torch.testing.assert_close(smooth, F.cross_entropy(outputs, soft))


def test_a_loss_refuses_the_other_task():
    classes, values = torch.tensor([0, 1]), torch.randn(2, 2)
    outputs = torch.zeros(2, 2)
    for loss, targets in (
        (tasks.cross_entropy, values),
        (tasks.one_hot_squared_error, values),
        (tasks.half_sum_of_squares, classes),
    ):
        with pytest.raises(ValueError, match="criterion="):
            loss(outputs, targets)
    with pytest.raises(ValueError, match="label_smoothing=2"):
        tasks.cross_entropy(outputs, classes, label_smoothing=2)


@pytest.mark.parametrize("criterion", ["mse", "label_smoothing"])
@pytest.mark.parametrize("norm", ["batch", "ghost_batch"])
def test_probes_change_nothing_whatever_the_criterion(criterion, norm, tmp_path):
    more = ["norm.samples=6"] if norm == "ghost_batch" else []
    cfg = small_config("mlp", norm, f"criterion={criterion}", *more)
    probes = {"landscape": Landscape(), "shift": InternalCovariateShift(), "drift": Drift()}
    ran = [run(cfg, tmp_path / str(n), probes if n else {}) for n in (0, 1)]
    (model, _, without), (probed, _, lines) = ran
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, probed.state_dict()[name])
    kept = [{k: v for k, v in line.items() if k.split("/")[0] not in probes} for line in lines]
    assert kept == without
    assert "landscape/loss" in lines[1]
