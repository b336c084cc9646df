# %% [markdown]
# # The edge of stability
#
# Santurkar et al. (2018) measure how fast the gradient changes along itself, the *effective
# beta-smoothness* (section 3.2), and find that it is smaller and steadier with BatchNorm. This
# notebook trains a small linear network with and without BatchNorm at two learning rates, and asks
# whether that number belongs to the network. Beside it stands the *sharpness*, the largest
# eigenvalue of the Hessian of the training loss, of which Cohen et al. (2021) found that
# full-batch gradient descent drives it to $2 / \eta$, $\eta$ being the learning rate, and stays
# there: the edge of stability.
#
# ## One dimension
#
# On the parabola $L = \lambda x^2 / 2$ a step of gradient descent is $x \leftarrow (1 - \eta
# \lambda) x$. It converges for $\lambda < 2 / \eta$, and at $\lambda = 2 / \eta$ jumps from one
# side to the other for ever. There the gradient turns into its opposite in every step, so it
# changes by $2 |g|$ over the distance $\eta |g|$: by $2 / \eta$ per distance moved.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnstudy.figures.style import arm
from bnstudy.norms import BatchNorm
from bnstudy.observe import observe
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.sharpness import Sharpness

torch.set_default_dtype(torch.float64)

for times_two_over_lr in (0.5, 0.9, 1.0, 1.1):
    x = [1.0]
    for _ in range(20):
        x.append(x[-1] - 2 * times_two_over_lr * x[-1])  # eta * lambda = 2 * times_two_over_lr
    print(f"sharpness {times_two_over_lr} * 2 / eta: x = 1, {x[1]:.2f}, {x[2]:.2f} ... {x[-1]:.2g}")

# %% [markdown]
# A network is no parabola. Where the sharpness is above $2 / \eta$ the steps along that eigenvector
# grow, and lead to where the sharpness is lower; below it, it often rises (*progressive
# sharpening*). So it stays about there.
#
# ## The experiment
#
# A linear network as in appendix A.1 of the paper, but small enough for a notebook: 5 layers of 5
# units instead of 25 of 10, and the mean of the squared error over 50 samples instead of its sum
# over 1,000. Full batch, plain gradient descent, float64, the same data and initial weights in both
# arms, two learning rates a factor of 10 apart, three seeds. `observe` makes of the present weights
# what a probe takes, and changes nothing.

# %%
DEPTH, DIM, SAMPLES = 5, 5, 50
STEPS, EVERY = 240, 30
LRS, SEEDS = (0.003, 0.03), (0, 1, 2)
NORMS = {"none": nn.Identity, "batch": BatchNorm}
sharpness, landscape = Sharpness(tolerance=0.01), Landscape()


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Summed over the outputs, mean over the samples."""
    return ((outputs - targets) ** 2).sum(1).mean() / 2


def measure(model: nn.Module, inputs: Tensor, targets: Tensor, lr: float) -> list[float]:
    """Loss, sharpness and effective beta at the present weights."""
    update = observe(model, half_squared_error, inputs, targets, lr=lr, layers={})
    along = landscape(update)  # eta = 1/2, 1, 2 and 4 times the lr
    beta = (along["gradient_change"] / (along["step_size"] * along["gradient_norm"])).max()
    top = sharpness(update)["batch_eigenvalues"]
    return [update.loss(update.params).item(), top.item(), beta.item()]


def train(norm: str, lr: float, seed: int) -> NDArray[np.float64]:
    """Step, loss, sharpness and effective beta [4, n] along a run."""
    torch.manual_seed(seed)
    inputs, matrix = torch.randn(SAMPLES, DIM), torch.randn(DIM, DIM)
    targets = inputs @ matrix.T
    weights = [nn.Linear(DIM, DIM, bias=False) for _ in range(DEPTH)]
    for linear in weights:
        nn.init.xavier_uniform_(linear.weight)  # Glorot, as in the paper
    model = nn.Sequential(*[part for linear in weights for part in (linear, NORMS[norm](DIM))])
    params, rows = list(model.parameters()), []
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            rows.append([step, *measure(model, inputs, targets, lr)])
        grads = torch.autograd.grad(half_squared_error(model(inputs), targets), params)
        with torch.no_grad():
            for parameter, grad in zip(params, grads, strict=True):
                parameter -= lr * grad
    return np.array(rows).T


runs = {(norm, lr, seed): train(norm, lr, seed) for norm in NORMS for lr in LRS for seed in SEEDS}

# %%
fig, grid = plt.subplots(3, 2, figsize=(8, 6), layout="constrained", sharex=True, sharey="row")
names = ("loss", "sharpness", "effective $\\beta$")
for column, lr in zip(grid.T, LRS, strict=True):
    column[0].set_title(f"learning rate {lr}")
    column[-1].set_xlabel("step")
    for axes, row in zip(column, (1, 2, 3), strict=True):
        for (norm, of_lr, seed), values in runs.items():
            if of_lr == lr:
                label = arm(norm).name if seed == SEEDS[0] else None
                axes.semilogy(values[0], values[row], color=arm(norm).colour, lw=1, label=label)
        if row > 1:
            axes.axhline(2 / lr, color="k", ls=":", label="$2 / \\eta$")
for axes, name in zip(grid[:, 0], names, strict=True):
    axes.set_ylabel(name)
grid[1, 1].legend(frameon=False, fontsize="small")

print("medians over the second half of a run, in units of 2 / lr, one number per seed")
print(f"{'':14}{'sharpness':24}{'effective beta':24}{'final loss'}")
for norm in NORMS:
    for lr in LRS:
        second = [runs[norm, lr, seed][:, STEPS // EVERY // 2 :] for seed in SEEDS]
        cells = [" ".join(f"{np.median(v[row]) * lr / 2:6.3f}" for v in second) for row in (2, 3)]
        losses = " ".join(f"{v[1, -1]:7.3f}" for v in second)
        print(f"{norm:6}{lr:6}  {cells[0]:24}{cells[1]:24}{losses}")

# %% [markdown]
# ## What comes out
#
# - **Sharpness goes to $2 / \eta$.** With BatchNorm it is there, or within 15 % of it, in all six
#   runs. Without, it is there at the larger learning rate (0.92 to 1.01 of it) and far below at the
#   smaller one (0.11 to 0.14). One network with BatchNorm is thus 8.7 to 10 times as sharp at one
#   learning rate as at the other: the number is that of the learning rate.
# - **Effective beta says the same where the gradient points along the sharpest direction, and less
#   where it does not.** With BatchNorm at lr 0.03 it is $2 / \eta$ to within 3 %. Without, it is
#   0.005 to 0.12 of that, though the sharpness is as large: the gradient points elsewhere.
# - **BatchNorm is not the smoother one here.** The median of its effective beta is the larger one
#   in all six pairs of runs, by a factor of 8 or more, and so is its sharpness at lr 0.003, by 6 to
#   9: it climbs to a stability edge that the other network does not reach. At lr 0.03 the two are
#   equally sharp.
# - **Nor does it train faster here**: in all six pairs its last loss is the higher one. In the
#   network of 25 layers it is the lower one in 20 of 20 pairs (below).
#
# These are the numbers of one machine; descent at the edge amplifies rounding, so that elsewhere
# they may differ a little.
#
# This depends on depth and time. With 4 layers and 180 steps BatchNorm had not reached the edge at
# lr 0.003 (0.1, 0.6 and 0.4 of it), and there its effective beta was no larger than the other's.
#
# ## Why "BatchNorm has the smaller beta" is not a fact about BatchNorm
#
# Along any direction the change of the gradient per distance is, for small steps, at most the
# largest absolute eigenvalue, and often far less. A run whose steps bounce along the sharpest
# direction shows $2 / \eta$, whatever the network. And where the smallest step size already turns
# the gradient into something unrelated and small, the change is $\|g\|$ and beta $1 / \eta_{min}$,
# again whatever the network (figure 4c of the paper: both curves lie at 20 = 1 / 0.05, which there
# is also $2 / \eta$). A comparison at one learning rate therefore compares, above all, how near
# each network is to its edge; it should be made at several, beside $2 / \eta$ and
# $1 / \eta_{min}$. The figures of bnstudy draw both lines.
#
# The paper's own network, 25 layers, 10,000 steps, ten seeds, gives the same picture
# (`results/reference/deep_linear`): with BatchNorm the median effective beta of all 20 runs is
# within 1.3 % of $2 / \eta$, at $10^{-6}$ and at $10^{-7}$; without it most runs stay far below.
# The paper shows the landscape at $10^{-6}$ alone.
