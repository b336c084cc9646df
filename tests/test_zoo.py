"""The probes on many real architectures, with random weights and small inputs.

Run with BNSTUDY_TEST_ZOO=1 where torchvision, timm and transformers are installed:
`pip install -e '.[zoo]'`. It takes minutes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_own_models import contents
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.observe import observe
from bnstudy.params import length, normal_like, subtract
from bnstudy.probes.activations import Activations
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.weights import Weights
from bnstudy.seeds import seed_noise
from bnstudy.update import Loss, NotMeasurable, wide

pytestmark = [
    pytest.mark.skipif(not os.environ.get("BNSTUDY_TEST_ZOO"), reason="BNSTUDY_TEST_ZOO is not 1"),
    pytest.mark.filterwarnings("ignore"),
]

TORCHVISION = {
    "resnet18": 64,
    "densenet121": 64,
    "squeezenet1_1": 64,
    "shufflenet_v2_x0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 32,
    "mnasnet0_5": 64,
    "mobilenet_v3_large": 64,
    "googlenet": 64,
    "swin_t": 32,
}
TIMM = {
    "test_resnet": 64,
    "test_byobnet": 64,
    "test_efficientnet": 64,
    "test_convnext": 64,
    "test_convnext2": 64,
    "test_nfnet": 64,
    "test_vit": 160,
    "test_vit2": 160,
    "test_mambaout": 64,
    "regnetx_002": 64,
    "levit_128s": 224,
    "mixer_s32_224": 224,
}
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 64,
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "Roberta": SMALL | {"max_position_embeddings": 40},
    "Albert": SMALL | {"embedding_size": 16},
    "Electra": SMALL | {"embedding_size": 16},
    "DistilBert": {"dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 64},
    "GPT2": {"n_embd": 24, "n_layer": 2, "n_head": 2, "vocab_size": 64, "pad_token_id": 0},
    "Llama": SMALL | {"pad_token_id": 0, "num_key_value_heads": 2},
    "Mixtral": SMALL | {"pad_token_id": 0, "num_key_value_heads": 2, "num_local_experts": 4},
    "T5": {
        "d_model": 24,
        "d_kv": 12,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 64,
    },
    "Bart": {
        **{"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 64},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32},
        **{"decoder_ffn_dim": 32, "max_position_embeddings": 40},
    },
}
NAMES = [
    *(("torchvision", name) for name in TORCHVISION),
    *(("timm", name) for name in TIMM),
    *(("transformers", name) for name in TRANSFORMERS),
]

Case = tuple[nn.Module, Callable[[Any, Any], Tensor], Any, Any]


def image_case(package: str, name: str) -> Case:
    if package == "torchvision":
        torchvision = pytest.importorskip("torchvision")
        model, size = torchvision.models.get_model(name, num_classes=5), TORCHVISION[name]
    else:
        timm = pytest.importorskip("timm")
        model, size = timm.create_model(name, num_classes=5), TIMM[name]

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        if isinstance(outputs, tuple):
            return sum(nn.functional.cross_entropy(each, targets) for each in outputs[:1])
        return nn.functional.cross_entropy(outputs, targets)

    return model, criterion, torch.randn(4, 3, size, size), torch.arange(4) % 5


def text_case(name: str) -> Case:
    transformers = pytest.importorskip("transformers")
    ends = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = getattr(transformers, f"{name}Config")(**TRANSFORMERS[name], **ends)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    tokens = torch.randint(3, 60, (4, 9))
    tokens[:, -1] = 2
    batch = {"input_ids": tokens, "labels": torch.arange(4) % 2}
    return model, lambda outputs, _: outputs.loss, batch, None


def called(model: nn.Module, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


@pytest.mark.parametrize(("package", "name"), NAMES, ids=[f"{p}-{n}" for p, n in NAMES])
def test_a_network_is_observed_as_it_is_trained_and_left_as_it_is(package, name):
    torch.manual_seed(0)
    model, criterion, inputs, targets = (
        text_case(name) if package == "transformers" else image_case(package, name)
    )
    model.train()
    called(model, inputs)  # as a loop has done before: some install hooks for good
    for parameter in next(model.children()).parameters():
        parameter.requires_grad_(False)  # frozen ones must stay as they are too
        break
    before = contents(model)
    generator = torch.get_rng_state()
    update = observe(model, criterion, inputs, targets, lr=0.01)
    Landscape(multiples=(1.0,))(update), Weights()(update), Activations()(update)
    InternalCovariateShift(layers=list(update.layers)[-1:])(update)
    hessian = hessian_is_right(update.loss, update.params)
    assert contents(model) == before and torch.equal(generator, torch.get_rng_state())

    seed_noise(torch.device("cpu"), update.loss.seed)
    value = criterion(called(model, inputs), targets)
    value.backward()
    assert torch.equal(update.loss(update.params), value)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            assert torch.equal(update.grads[key], grad), key
    print(f"{package} {name}: {len(update.layers)} layers, Hessian {hessian}")


def hessian_is_right(loss: Loss, params: Any) -> str:
    """That a product is a difference of gradients to 1e-6, in float64, or is refused."""
    try:
        loss.hvp(params, normal_like(params, 3))
    except NotMeasurable as error:
        return f"refused: {error}"
    inputs, targets = wide(loss.batch.inputs), wide(loss.batch.targets)
    precise = replace(loss, batch=Batch(inputs, targets), precision=torch.float64, guarded=False)
    there = wide(params)
    scales = {key: max(float(p.std(correction=0)), 0.01) for key, p in there.items()}
    # Off the kinks that zeros in the weights make.
    there = {k: p + 0.01 * scales[k] * n for (k, p), n in paired(there, normal_like(there, 4))}
    direction = {k: scales[k] * n for k, n in normal_like(there, 3).items()}
    try:
        product = precise.hvp(there, direction)
    except RuntimeError as error:
        return f"not compared: {error!s:.60}"
    differences: list[Any] = []
    for step in (1e-6, 1e-7, 1e-8, 1e-9):
        ends = [
            precise.value_and_grad(
                {k: p + sign * step * d for (k, p), d in paired(there, direction)}
            )
            for sign in (1, -1)
        ]
        difference = subtract(ends[0][1], ends[1][1])
        differences.append({k: t / (2 * step) for k, t in difference.items()})
        off = distance(product, differences[-1])
        if off < 1e-6:
            return f"off by {off:.0e}"
    apart = distance(differences[0], differences[1])
    # Every step crosses a kink of some ReLU: two differences are as far from each other.
    assert apart > 0.1 * distance(product, differences[0]), off
    return f"not compared: differences are {apart:.0e} apart"


def paired(a: Any, b: Any) -> Any:
    return [((key, a[key]), b[key]) for key in a]


def distance(a: Any, b: Any) -> float:
    return float(length(subtract(a, b)) / length(a))


def test_hooks_of_transformers_are_removed():
    model, _, batch, _ = text_case("Bert")
    model.eval()
    count = lambda: sum(len(module._forward_hooks) for module in model.modules())  # noqa: E731
    before, batch = count(), batch | {"output_hidden_states": True}
    Landscape()(observe(model, lambda out, _: out.loss + out.hidden_states[1].mean(), batch, None))
    assert count() == before and len(model(**batch).hidden_states) == 3


@pytest.mark.parametrize(
    "name", ["LayerNorm2d", "BatchNormAct2d", "GroupNormAct", "LayerNormAct2d"]
)
def test_norms_of_timm_show_what_their_activation_function_sees(name):
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    norm = getattr(layers, name)(32)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), norm)
    batch = torch.randn(4, 3, 7, 10)
    update = observe(model, lambda outputs, _: outputs.square().mean(), batch, None)
    outputs = update.loss.activations(update.params, ["1"])["1"]
    shown = outputs if name == "LayerNorm2d" else outputs.relu()
    assert outputs.shape == (4, 32, 5, 8) and torch.equal(shown, model(batch))
    if name == "BatchNormAct2d":
        assert outputs.mean((0, 2, 3)) == pytest.approx(torch.zeros(32), abs=1e-5)
