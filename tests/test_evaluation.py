"""Evaluation: the test set, a part of the training set, statistics re-estimated over an epoch."""

import json
from functools import partial

import pytest
import torch
from conftest import build, options, run, small_config
from torch import nn

from bnstudy.data import Batch, DataSet
from bnstudy.evaluation import SUBSET, evaluate, precise_statistics, training_subset
from bnstudy.models.mlp import MLP
from bnstudy.norms import BatchNorm
from bnstudy.tasks import cross_entropy


def blobs(samples: int, seed: int = 0) -> DataSet:
    """Two classes in two dimensions, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(samples) % 2
    inputs = torch.randn(samples, 2, generator=generator) + 3 + targets[:, None]
    return DataSet(
        "blobs", Batch(inputs, targets), Batch(inputs, targets), cross_entropy, ("a", "b")
    )


def network(data: DataSet, norm=BatchNorm) -> MLP:
    torch.manual_seed(0)
    return MLP(data.input_shape, data.num_outputs, norm, hidden=[8, 8])


def test_the_subset_is_measured_as_training_sees_it():
    data = blobs(60)
    model = network(data).train()
    found = training_subset(model, data, batch_size=20, seed=0)
    outputs = [model(data.train.inputs[start : start + 20]) for start in (0, 20, 40)]
    losses = [cross_entropy(o, data.train.targets[:20]) for o in outputs]
    torch.testing.assert_close(found["train/subset_loss"], torch.stack(losses).mean())
    right = torch.cat(outputs).argmax(1) == data.train.targets
    torch.testing.assert_close(found["train/subset_accuracy"], right.float().mean())


@pytest.mark.parametrize(
    ("samples", "batch_size", "counted"), [(50, 20, 40), (9, 9, 9), (5000, 64, 1984)]
)
def test_the_subset_is_whole_batches_of_a_fixed_part(samples, batch_size, counted):
    data, seen = blobs(samples), []
    model = network(data)
    model.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    training_subset(model, data, batch_size, seed=0)
    assert seen == [batch_size] * (counted // batch_size) and sum(seen) <= max(SUBSET, batch_size)


@pytest.mark.parametrize("norm", options("norm"))
def test_evaluation_changes_nothing(norm):
    data, model, _ = build(small_config("mlp", norm))
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    measured = evaluate(model, data, batch_size=16, seed=0, precise=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training and all(module.training for module in model.modules())
    assert all(value.isfinite() for value in measured.values())
    again = evaluate(model, data, batch_size=16, seed=0, precise=True)
    assert all(torch.equal(value, again[key]) for key, value in measured.items())


def test_precise_statistics_are_those_of_all_samples():
    data = blobs(64)
    model = network(data).train()
    found = precise_statistics(model, data, batch_size=64, seed=0)
    hidden = model.layer1.linear(data.train.inputs)
    torch.testing.assert_close(found["layer1.norm.running_mean"], hidden.mean(0))
    torch.testing.assert_close(found["layer1.norm.running_var"], hidden.var(0))
    # In batches: the inputs of the first norm are the same, and the law of total variance holds.
    parts = precise_statistics(model, data, batch_size=16, seed=0)
    torch.testing.assert_close(parts["layer1.norm.running_mean"], hidden.mean(0))
    order = torch.cat([model.layer1.linear(data.batch(s, 16, 0).inputs) for s in range(4)])
    batches = order.view(4, 16, -1)
    expected = batches.var(1).mean(0) + batches.mean(1).var(0, correction=0)
    torch.testing.assert_close(parts["layer1.norm.running_var"], expected)


def test_precise_accuracy_mends_running_statistics_that_lag_behind():
    data = blobs(400)
    model = network(data, partial(BatchNorm, momentum=1e-3)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step in range(40):
        batch = data.batch(step, 100, 0)
        optimizer.zero_grad()
        cross_entropy(model(batch.inputs), batch.targets).backward()
        optimizer.step()
    measured = evaluate(model, data, 100, 0, precise=True)
    assert measured["test/accuracy"] < measured["test/precise_accuracy"] - 0.05
    close = measured["test/precise_accuracy"] - measured["train/subset_accuracy"]
    assert abs(close) < 0.05


def test_networks_without_a_norm_have_precise_statistics_too():
    data = blobs(40)
    model = network(data, nn.Identity).train()
    measured = evaluate(model, data, 10, 0, precise=True)
    assert measured["test/precise_accuracy"] == measured["test/accuracy"]


def test_every_test_records_the_subset(tmp_path):
    _, _, lines = run(small_config("mlp", "batch"), tmp_path, {}, steps=3)
    steps = [line["step"] for line in lines if "train/subset_accuracy" in line]
    assert steps == [0, 2, 3] == [line["step"] for line in lines if "test/accuracy" in line]
    assert json.dumps(lines)
