"""The probe of branches, on blocks whose variances are known."""

import pytest
import torch
from conftest import build, small_config
from torch import nn

from bnstudy.models.resnet import ResNet
from bnstudy.norms import BatchNorm
from bnstudy.observe import observe
from bnstudy.probes.branches import Branches
from bnstudy.train import loss_of_step


def test_a_branch_with_batch_norm_has_variance_one_and_a_shortcut_that_of_its_input():
    model = ResNet((3, 8, 8), 4, BatchNorm, depth=20, width=0.5)
    inputs, targets = torch.randn(32, 3, 8, 8), torch.randint(4, (32,))
    update = observe(model, nn.functional.cross_entropy, inputs, targets)
    measured = Branches()(update)
    assert measured["blocks"] == 9
    branches = [v.item() for key, v in measured.items() if key.startswith("branch_variance/")]
    assert branches == pytest.approx([1] * 9, rel=0.02)
    stem = model.get_submodule("stem")(inputs)
    expected = stem.double().var((0, 2, 3), correction=0).mean()
    torch.testing.assert_close(measured["skip_variance/stage1.block1"], expected, rtol=1e-5, atol=0)
    assert measured["skip_variance/stage1.block3"] > 1.5 * expected  # it accumulates


@pytest.mark.parametrize("model", ["plain", "vgg"])
def test_a_network_without_shortcuts_has_no_branches(model):
    data, network, _ = build(small_config(model, "batch"))
    update = observe(network, data.criterion, *_sample(network, data))
    assert {key: value.item() for key, value in Branches()(update).items()} == {"blocks": 0}


def _sample(network, data):
    batch = loss_of_step(network, data, 0, 8, 0).batch
    return batch.inputs, batch.targets
