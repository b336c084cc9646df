# %% [markdown]
# # Probe your own model
#
# The probes of this study work on any torch network in any training loop, without Hydra, configs or
# the study's own models. This notebook takes a small convolutional network as anyone would write
# it, looks at it at one point of its parameters, then along its training, and adds a probe of its
# own. Programs that do the same with a network of torchvision, a transformer and Lightning are in
# `scripts/examples`.

# %%
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from bnstudy import surfaces
from bnstudy.data import digits
from bnstudy.figures.style import arm
from bnstudy.observe import Observer, observe
from bnstudy.params import dot
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.theory import Theory
from bnstudy.results import load_runs
from bnstudy.update import Probe, Update


def network(norm: str) -> nn.Module:
    """Two convs and a linear, with BatchNorm or without; the same initial weights."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(16)] if norm == "batch" else [nn.Identity()] * 2
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2), norms[0], nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), norms[1], nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, 10)),
    )


LR, STEPS, BATCH_SIZE = 0.1, 60, 64
data, criterion = digits(), nn.CrossEntropyLoss()

# %% [markdown]
# ## At one point
#
# `observe` makes of a model, a criterion and a batch an `Update`: the step that plain gradient
# descent would make from here with this learning rate. It is not made, and the model is left as it
# is. Every probe takes an `Update`. Which layers the model has, and which norm belongs to each, is
# found by one forward pass.

# %%
batch = data.batch(step=0, batch_size=BATCH_SIZE, seed=0)
for norm in ("none", "batch"):
    update = observe(network(norm), criterion, batch.inputs, batch.targets, lr=LR)
    print(f"{arm(norm).name}: loss {update.loss(update.params):.3f}")
    for name, layer in update.layers.items():
        print(f"    layer {name}: {', '.join(layer.weights + layer.norm)}")

# %% [markdown]
# The loss and the change of the gradient along the gradient (Santurkar et al. 2018, section 3.2):

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for norm in ("none", "batch"):
    update = observe(network(norm), criterion, batch.inputs, batch.targets, lr=LR)
    line = Landscape(multiples=(0.125, 0.25, 0.5, 1, 2, 4, 8))(update)
    look = {"color": arm(norm).colour, "marker": arm(norm).marker, "label": arm(norm).name}
    left.plot(line["step_size"], line["loss"], **look)
    left.axhline(update.loss(update.params).item(), color=arm(norm).colour, ls=":")
    right.plot(line["step_size"], line["gradient_change"] / line["gradient_norm"], **look)
left.set(xlabel="$\\eta$", ylabel="$L(\\theta - \\eta g)$", xscale="log")
right.set(xlabel="$\\eta$", ylabel="$\\|g(\\theta - \\eta g) - g\\| / \\|g\\|$", xscale="log")
for axes in (left, right):
    axes.set_xticks([LR / 8, LR, 8 * LR], ["lr / 8", "lr", "8 lr"])
    axes.minorticks_off()
right.axhline(1, color="k", ls=":")  # the gradient has changed by as much as its own length
_ = right.legend(frameon=False)

# %% [markdown]
# Dotted on the left is the loss where the line begins. At its initial weights, and along one line,
# this says nothing yet about training.
#
# Two more probes. `Sharpness` gives the largest Hessian eigenvalue. With BatchNorm one has to say
# of which function: with `batch` statistics it is what training descends, with `running` ones it is
# evaluation mode. `InternalCovariateShift` compares every layer's gradient before and after the
# layers below it made their update (definition 2.1).

# %%
for norm in ("none", "batch"):
    update = observe(network(norm), criterion, batch.inputs, batch.targets, lr=LR)
    top = Sharpness(statistics=("batch", "running"))(update)
    shift = InternalCovariateShift()(update)
    values = {kind: top[f"{kind}_eigenvalues"].item() for kind in ("batch", "running")}
    cosines = [round(shift[f"cosine/{name}"].item(), 2) for name in update.layers]
    print(f"{arm(norm).name:10} sharpness, batch statistics {values['batch']:.1f}, ", end="")
    print(f"running {values['running']:.1f}; cosines, layer by layer: {cosines}")

# %% [markdown]
# ## A probe of one's own
#
# A probe is a frozen dataclass with `every`, called with an `Update`, that returns a dict of
# tensors. It may call `update.loss` at any parameters, and changes nothing. The gradient promises
# that the loss falls by $\langle g, \theta - \theta_{new} \rangle$; this probe asks what share of
# it the step keeps: 1 on a straight line, below 0 where the loss rises.

# %%
LRS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Kept:
    """The decrease of the loss in the step over what its gradient promises."""

    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """Records share."""
        step = {name: update.params[name] - update.new_params[name] for name in update.params}
        decrease = update.loss(update.params) - update.loss(update.new_params)
        return {"share": decrease.detach() / dot(update.grads, step)}


for norm in ("none", "batch"):
    for lr in LRS:
        update = observe(network(norm), criterion, batch.inputs, batch.targets, lr=lr)
        print(f"{arm(norm).name:10} lr {lr:4}: keeps {Kept()(update)['share']:6.2f} of the promise")

# %% [markdown]
# ## Along training
#
# `Observer` calls probes in a loop of one's own, around the optimizer's step. Without a folder it
# keeps no record; with one it writes a `run.jsonl`, which `bnstudy.results` reads. In a folder that
# has the name of one of the study's experiments, `vgg` say, its figures draw it too.

# %%
PROBES = {
    "landscape": Landscape(every=5),
    "sharpness": Sharpness(tolerance=0.05, every=5),
    "kept": Kept(every=5),
}


def train(norm: str, probes: Mapping[str, Probe], folder: Path | None = None) -> nn.Module:
    """A plain loop; what is not in every loop is the observer."""
    model = network(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    with Observer(model, criterion, probes, optimizer, folder, norm=norm, steps=STEPS) as observer:
        for step in range(STEPS):
            batch = data.batch(step, BATCH_SIZE, seed=0)
            loss = criterion(model(batch.inputs), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            with observer.step(batch.inputs, batch.targets) as record:
                record["train/loss"] = loss.detach()
                optimizer.step()
    return model


with TemporaryDirectory() as folder:
    trained = {norm: train(norm, PROBES, Path(folder, "own", norm)) for norm in ("none", "batch")}
    runs = load_runs("own", folder)

fig, axes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for run in runs:
    drawn = arm(run.norm)
    look = {"color": drawn.colour, "label": drawn.name}
    axes[0].semilogy(*run["train/loss"], **look)
    steps, losses = run["landscape/loss"]
    axes[1].fill_between(steps, losses.min(1), losses.max(1), alpha=0.4, **look)
    steps, values = run["sharpness/batch_eigenvalues"]
    axes[2].semilogy(steps, values[:, 0], marker=drawn.marker, **look)
    axes[3].plot(*run["kept/share"], marker=drawn.marker, **look)
axes[1].set_yscale("log")
axes[2].axhline(2 / LR, color="k", ls=":")
axes[3].axhline(0, color="k", lw=0.5)
titles = (
    "training loss",
    "loss along the gradient",
    "sharpness; dotted: $2 / \\eta$",
    "kept share",
)
for panel, title in zip(axes, titles, strict=True):
    panel.set(title=title, xlabel="step")
axes[0].legend(frameon=False)
for run in runs:
    sharpest, kept = run["sharpness/batch_eigenvalues"][1].max(), run["kept/share"][1]
    print(f"{arm(run.norm).name:10} last loss {run['train/loss'][1][-1]:.3f}, ", end="")
    print(f"largest sharpness {sharpest:.0f}, kept share {kept.min():.2f} to {kept.max():.2f}")

# %% [markdown]
# One seed of one small network: enough to see how it is done, and nothing to conclude from.
#
# ## The theorems and the loss surface
#
# At the end of training. What BatchNorm makes of the squared length of a gradient (theorem 4.1 of
# Santurkar et al. 2018, an equality), layer by layer: it is scaled by $\gamma^2 / \sigma^2$, and
# two projections are subtracted.

# %%
ends = {
    norm: observe(model, criterion, batch.inputs, batch.targets, lr=LR)
    for norm, model in trained.items()
}
terms = Theory()(ends["batch"])
for name in [name for name, layer in ends["batch"].layers.items() if layer.norm]:
    whole = terms[f"scaled_gradient/{name}"]
    scale = whole / terms[f"output_gradient/{name}"]
    mean, along = (terms[f"{kind}_term/{name}"] / whole for kind in ("mean", "projection"))
    print(f"layer {name}: times {scale:.3g}, and of that less {mean:.1%} and {along:.1%}", end="")
    print(f" (the two sides differ by {terms[f'error/{name}']:.0e})")

# %% [markdown]
# The loss around both ends, in two random directions that have the filters' lengths (Li et al.
# 2018), the second made orthogonal to the first:

# %%
ticks = surfaces.axis(points=15, span=1.0)
fig, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for panel, (norm, update) in zip(panels, ends.items(), strict=True):
    first, second = (surfaces.random_direction(update.params, seed=seed) for seed in (0, 1))
    plane = [first, surfaces.orthogonal(second, first)]
    loss = [
        surfaces.measure([update.loss], surfaces.moved(update.params, plane, at))["loss"][0]
        for at in surfaces.grid([ticks, ticks])
    ]
    drawn = panel.contourf(ticks, ticks, torch.tensor(loss).view(15, 15).log10(), 20)
    panel.set(title=arm(norm).name, xlabel="a")
    fig.colorbar(drawn, ax=panel, label="$\\log_{10}$ loss")
_ = panels[0].set_ylabel("b")

# %% [markdown]
# ## Nothing was changed
#
# The same training without a probe ends at the same parameters and running statistics, bit by bit.

# %%
for norm, model in trained.items():
    untouched = train(norm, {}).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, untouched[name]), name
    print(f"{arm(norm).name:10} {len(untouched)} tensors, all equal")

# %% [markdown]
# ## What to look out for
#
# - The gradient is that of the batch. With momentum, weight decay or Adam the step goes in another
#   direction; `update.new_params` is where it went, and `landscape` walks along the gradient all
#   the same.
# - With BatchNorm every number depends on the batch through its statistics: compare at the same
#   batches.
# - Under a norm the weights' size does not matter to the loss, but it does to a sharpness or a
#   gradient ([BatchNorm from the formulas](batchnorm_from_the_formulas.ipynb)). And what a
#   sharpness says about a network depends on the learning rate ([the edge of
#   stability](edge_of_stability.ipynb)).
# - Inputs may be a tensor, a tuple (given as arguments) or a dict (given by name); `layers=` states
#   the layers where the forward pass finds others than you mean.
