"""The transformer against torch's own, its causal mask, and the data set of text."""

import math

import pytest
import torch
from conftest import build, small_config
from torch import nn

from bnstudy.data import text
from bnstudy.models.transformer import Block, Transformer
from bnstudy.norms import BatchNorm, LayerNorm, WeightNorm
from bnstudy.update import layers_of


def identity(_features: int) -> nn.Module:
    return nn.Identity()


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_a_block_is_torchs_encoder_layer(placement):
    """Vaswani et al. 2017, section 3; with the norms before the branches Xiong et al. 2020."""
    ours = Block(8, 2, LayerNorm, identity, placement, causal=False)
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=placement == "pre"
    )
    pairs = {
        "attend.linear": ("self_attn.in_proj_weight", "self_attn.in_proj_bias"),
        "project.linear": ("self_attn.out_proj.weight", "self_attn.out_proj.bias"),
        "expand.linear": ("linear1.weight", "linear1.bias"),
        "contract.linear": ("linear2.weight", "linear2.bias"),
        "attention_norm": ("norm1.weight", "norm1.bias"),
        "mlp_norm": ("norm2.weight", "norm2.bias"),
    }
    state = {}
    for name, others in pairs.items():
        for kind, other in zip(("weight", "bias"), others, strict=True):
            state[other] = ours.get_parameter(f"{name}.{kind}")
    theirs.load_state_dict(state)
    inputs = torch.randn(3, 5, 8)
    expected = theirs(inputs)
    torch.testing.assert_close(ours(inputs.flatten(0, 1), 3).view(3, 5, 8), expected)


@pytest.mark.parametrize("norm", [LayerNorm, identity])
def test_no_position_sees_a_later_one(norm):
    model = Transformer((6,), 11, norm, depth=2, width=8, heads=2)
    tokens = torch.randint(11, (2, 6))
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    before, after = model(tokens), model(changed)
    assert before.shape == (2, 11, 6)
    torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
    assert not torch.allclose(before[:, :, 4:], after[:, :, 4:])


def test_batch_norm_is_over_the_batch_and_all_positions():
    model = Transformer((1, 8, 8), 3, BatchNorm, depth=1, width=8, heads=2, placement="pre")
    seen = []
    norm = model.get_submodule("blocks.block1.attention_norm")
    norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    assert model(torch.randn(5, 1, 8, 8)).shape == (5, 3)
    (output,) = seen
    assert output.shape == (5 * 4, 8)
    torch.testing.assert_close(output.mean(0), torch.zeros(8), atol=1e-6, rtol=0)


def test_layers_in_forward_order_with_the_norm_that_is_called_next():
    def names(placement: str) -> dict[str, tuple[str, str | None, str]]:
        return Transformer((6,), 5, LayerNorm, 1, 8, 2, placement=placement).layers

    order = ["embedding", "block1.attend", "block1.project", "block1.expand", "block1.contract"]
    assert list(names("pre")) == [*order, "head"]
    norms = {place: [norm for _, norm, _ in names(place).values()] for place in ("pre", "post")}
    attention, mlp = "blocks.block1.attention_norm", "blocks.block1.mlp_norm"
    assert norms["pre"] == [attention, None, mlp, None, "norm", None]
    assert norms["post"] == [None, None, attention, None, mlp, None]
    assert [norm for _, norm, _ in names("none").values()] == [None] * 6


def test_a_norm_of_weights_acts_on_every_linear_layer_of_the_branches():
    model = Transformer((6,), 5, WeightNorm, depth=1, width=8, heads=2)
    found = [name for name, module in model.named_modules() if isinstance(module, WeightNorm)]
    parts = ("attend", "project", "expand", "contract")
    assert found == [f"blocks.block1.{part}.norm" for part in parts]
    assert layers_of(model)["block1.expand"].norm_module == "blocks.block1.expand.norm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "model.depth=0 must be a whole number, 1 or more"),
        ({"heads": 3}, "model.heads=3 does not divide model.width=64"),
        ({"placement": "before"}, "model.placement=before must be one of pre, post, none"),
        ({"patch": 5}, "model.patch=5 does not divide the sides of the images, 32x32"),
    ],
)
def test_a_transformer_refuses_what_it_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**{"input_shape": (3, 32, 32), "num_outputs": 10, "norm": identity} | arguments)


def test_a_transformer_of_tokens_refuses_numbers():
    with pytest.raises(ValueError, match="model=transformer takes images or tokens"):
        Transformer((6,), 5, identity, 1, 8, 2)(torch.randn(2, 6))


def test_the_text_is_windows_and_the_characters_that_follow():
    data = text(length=50, held_out=0.2)
    inputs, targets = data.train.inputs, data.train.targets
    assert inputs.shape == targets.shape and inputs.shape[1] == 50
    assert torch.equal(inputs.flatten()[1:], targets.flatten()[:-1])
    samples = len(inputs) + len(data.test.inputs)
    assert samples * 50 == pytest.approx(460_000, rel=0.3)
    assert len(data.test.inputs) / samples == pytest.approx(0.2, abs=0.01)
    words = "".join(data.classes[i] for i in inputs[:200].flatten().tolist())
    assert "statement" in words and "expression" in words
    again = text(length=50, held_out=0.2)
    assert again.digest == data.digest and text(length=49).digest != data.digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "data.length=0 must be a whole number, 1 or more"),
        ({"held_out": 1.0}, "data.held_out=1.0 must be a share, between 0 and 1"),
        ({"length": 300_000}, "data.length=300000 leaves no sample"),
    ],
)
def test_the_text_refuses_what_leaves_no_samples(options, message):
    with pytest.raises(ValueError, match=message):
        text(**options)


def test_the_next_character_is_learned():
    """From the uniform guess to clearly below the entropy of single characters, about 3.1 nats."""
    cfg = small_config(
        "transformer", "layer", "data=text", "data.held_out=0.1", "model.width=32", "model.heads=4"
    )
    data, model, _ = build(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(120):
        batch = data.batch(step, 16, 0)
        loss = data.criterion(model(batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(len(data.classes)), rel=0.4)
    assert sum(losses[-10:]) / 10 < 2.9
