# %% [markdown]
# # BatchNorm from the formulas
#
# Batch normalization is four formulas for training, one for evaluation, and a backward pass that
# follows from them (Ioffe & Szegedy 2015, algorithms 1 and 2, section 3). This notebook writes them
# down, compares each with `bnstudy.norms.BatchNorm`, which is torch's own, and then looks at what
# they do: to an activation function, to the gradient, and to weights of any size. Everything is in
# float64, so that a formula that is right agrees to about 15 digits.

# %%
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from bnstudy.norms import BatchNorm


def largest(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference."""
    return (a - b).abs().max().item()


torch.set_default_dtype(torch.float64)
_ = torch.manual_seed(0)

# %% [markdown]
# ## Forward
#
# For one unit and its values $x_1 \ldots x_m$ over the batch:
#
# $$\mu = \frac{1}{m} \sum_i x_i, \quad \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2, \quad
# \hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad y_i = \gamma \hat{x}_i + \beta .$$
#
# The variance divides by $m$, not by $m - 1$. For images all positions count as samples of their
# channel (section 3.2), so $m$ is batch size times height times width.

# %%
norm = BatchNorm(3)


def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, x_hat and sqrt(sigma^2 + eps) of x [m, C]."""
    mu = x.sum(0) / len(x)
    variance = ((x - mu) ** 2).sum(0) / len(x)
    scale = (variance + eps).sqrt()
    x_hat = (x - mu) / scale
    return gamma * x_hat + beta, x_hat, scale


with torch.no_grad():
    norm.weight.copy_(torch.tensor([1.0, 0.5, 2.0]))  # gamma
    norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))  # beta
x = torch.tensor([5.0, 0.0, -2.0]) + torch.tensor([3.0, 1.0, 0.1]) * torch.randn(64, 3)
x.requires_grad_()
y, x_hat, scale = forward(x, norm.weight, norm.bias, norm.eps)
print(f"forward, features: largest difference {largest(y, norm(x)):.0e}")

images = torch.randn(8, 3, 5, 5) ** 2
rows = images.transpose(0, 1).flatten(1).T  # [N * H * W, C]
by_hand = forward(rows, norm.weight, norm.bias, norm.eps)[0]
by_torch = norm(images).transpose(0, 1).flatten(1).T
print(f"forward, images:   largest difference {largest(by_hand, by_torch):.0e}")
assert largest(y, norm(x)) < 1e-12 and largest(by_hand, by_torch) < 1e-12

# %% [markdown]
# ## Backward
#
# Let $g_i = \partial L / \partial y_i$. $\gamma$ and $\beta$ are an ordinary scale and shift:
#
# $$\frac{\partial L}{\partial \gamma} = \sum_i g_i \hat{x}_i, \qquad
# \frac{\partial L}{\partial \beta} = \sum_i g_i .$$
#
# $x_i$ acts in three ways: directly, through $\mu$ and through $\sigma^2$. The six derivatives of
# section 3 of the paper, put into one another, are
#
# $$\frac{\partial L}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} \Big( g_i -
# \frac{1}{m} \sum_k g_k - \hat{x}_i \, \frac{1}{m} \sum_k g_k \hat{x}_k \Big) .$$

# %%
g = torch.randn_like(x)  # from a loss that we need not know


def backward(
    g: Tensor, x_hat: Tensor, scale: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to x [m, C], gamma [C] and beta [C]."""
    of_x = gamma / scale * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
    return of_x, (g * x_hat).sum(0), g.sum(0)


by_torch = torch.autograd.grad(norm(x), (x, norm.weight, norm.bias), g)
by_hand = backward(g, x_hat.detach(), scale.detach(), norm.weight.detach())
for name, a, b in zip(("x", "gamma", "beta"), by_hand, by_torch, strict=True):
    print(f"gradient of {name:5}: largest difference from autograd {largest(a, b):.0e}")
    assert largest(a, b) < 1e-12

# %% [markdown]
# The two terms that are subtracted come from $\mu$ and $\sigma^2$, and are projections: what is
# left has no component along the vector of ones and, up to $\epsilon$, none along $\hat{x}$. A
# shift or a scaling of all of a unit's values changes nothing behind the norm, so the loss asks for
# none. The length is, with $\epsilon = 0$, exactly
#
# $$\Big\| \frac{\partial L}{\partial x} \Big\|^2 = \frac{\gamma^2}{\sigma^2} \Big( \|g\|^2 -
# \frac{1}{m} \langle 1, g \rangle^2 - \frac{1}{m} \langle g, \hat{x} \rangle^2 \Big),$$
#
# theorem 4.1 of Santurkar et al. (2018). The paper has "$\le$", and in arXiv version 3
# $1 / \sqrt{m}$ in the last term; with $1 / m$ it is an equality.
#
# Taking $\mu$ and $\sigma$ for constants leaves both terms out. That is another gradient, and not
# the one of the loss: Ioffe & Szegedy (section 2) describe a bias that grows without bound while
# the loss stays where it is.

# %%
TINY = 1e-30  # for epsilon = 0, which torch refuses
exact = BatchNorm(3, eps=TINY)
of_x, *_ = torch.autograd.grad(exact(x), (x,), g)
_, x_hat, scale = forward(x.detach(), exact.weight.detach(), exact.bias.detach(), TINY)
print(f"sum of the gradient, per unit          {of_x.sum(0).abs().max().item():.0e}")
print(f"inner product with x_hat, per unit     {(of_x * x_hat).sum(0).abs().max().item():.0e}")

m = len(x)
bracket = (g**2).sum(0) - g.sum(0) ** 2 / m - (g * x_hat).sum(0) ** 2 / m
length = (of_x**2).sum(0)
print(
    f"theorem 4.1 with 1/m, relative error   {largest(bracket / scale**2 / length, length**0):.0e}"
)
constants = g / scale  # mu and sigma taken for constants
print(f"with mu and sigma for constants, error {largest(constants, of_x):.1f}")
torch.testing.assert_close(bracket / scale**2, length)

# %% [markdown]
# ## Evaluation
#
# One sample has no statistics of its own, so after training $\mu$ and $\sigma^2$ are replaced by
# estimates of those of the population (algorithm 2), over many batches $B$ of $m$ samples:
#
# $$E[x] = E_B[\mu_B], \qquad \mathrm{Var}[x] = \frac{m}{m - 1} E_B[\sigma_B^2] .$$
#
# The factor undoes the bias: the variance within a batch is on average too small, because its mean
# is taken from the same values. torch keeps exponential averages, $r \leftarrow 0.9\, r + 0.1\, s$,
# of $\mu_B$ and of the *unbiased* variance; with `momentum=None` plain averages, as in the formula.

# %%
running, plain = BatchNorm(1), BatchNorm(1, momentum=None)
mean, variance = torch.zeros(1), torch.ones(1)  # where torch begins
batches = [2 + 3 * torch.randn(8, 1) for _ in range(200)]
for batch in batches:
    mean = 0.9 * mean + 0.1 * batch.mean(0)
    variance = 0.9 * variance + 0.1 * batch.var(0, correction=1)
    running(batch), plain(batch)
averages = torch.stack([batch.var(0, correction=0) for batch in batches]).mean(0) * 8 / 7

print(f"running mean:     largest difference {largest(mean, running.running_mean):.0e}")
print(f"running variance: largest difference {largest(variance, running.running_var):.0e}")
print(f"algorithm 2:      largest difference {largest(averages, plain.running_var):.0e}")
assert largest(mean, running.running_mean) < 1e-12
assert largest(variance, running.running_var) < 1e-12
assert largest(averages, plain.running_var) < 1e-12

z = torch.linspace(-10, 10, 5)[:, None]
straight = (z - mean) / (variance + running.eps).sqrt()  # gamma = 1, beta = 0
print(f"evaluation mode:  largest difference {largest(straight, running.eval()(z)):.0e}")

# %% [markdown]
# In evaluation mode the norm is a fixed straight line per unit; in training it depends on the whole
# batch. They are two functions of the weights. The smaller the batch, the further apart: on the
# left the variance within a batch over the true one, on the right what the same sample becomes in
# different batches.

# %%
sizes = [2, 4, 8, 16, 32, 64, 128]
sampled = [torch.randn(2000, size) for size in sizes]
biased = [s.var(1, correction=0).mean() for s in sampled]
unbiased = [s.var(1, correction=1).mean() for s in sampled]
theory = [(size - 1) / size for size in sizes]

others = {size: torch.randn(2000, size - 1) for size in sizes}
sample = torch.ones(2000, 1)  # one standard deviation above the mean
spread = []
for other in others.values():
    batch = torch.cat([sample, other], 1).T  # [m, 2000]: a column is one batch
    spread.append(BatchNorm(2000, affine=False)(batch)[0].quantile(torch.tensor([0.15, 0.5, 0.85])))
low, middle, high = torch.stack(spread).T

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
left.semilogx(sizes, biased, "o-", label="divided by $m$")
left.semilogx(sizes, unbiased, "s-", label="divided by $m - 1$")
left.semilogx(sizes, theory, "k:", label="$(m - 1) / m$")
left.set(xlabel="batch size $m$", ylabel="mean variance / true one", ylim=(0.4, 1.1))
left.legend(frameon=False)
right.fill_between(sizes, low, high, alpha=0.3, label="percentiles 15 to 85")
right.semilogx(sizes, middle, "o-", label="median")
right.axhline(1, color="k", ls=":", label="population statistics")
right.set(xlabel="batch size $m$", ylabel="$\\hat{x}$ of a sample at $\\mu + \\sigma$")
right.legend(frameon=False)
for axes in (left, right):
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()

# %% [markdown]
# ## The identity, forward and backward
#
# With $\gamma = \sqrt{\sigma^2 + \epsilon}$ and $\beta = \mu$ the norm gives back its input;
# [Why gamma and beta?](scale_and_shift.ipynb) shows it. So there is a setting of the network with
# norms that has, on one batch, the same activations as any network without (Santurkar et al. 2018,
# observation 4.3). It has the same activations, but not the same gradient: the projections stay.

# %%
values = x.detach().requires_grad_()
undo = BatchNorm(3)
with torch.no_grad():
    undo.weight.copy_((values.var(0, correction=0) + undo.eps).sqrt())
    undo.bias.copy_(values.mean(0))
target = torch.tensor([1.0, 1.0, 1.0])
without = torch.autograd.grad(((values - target) ** 2).mean(), values)[0]
with_norm = torch.autograd.grad(((undo(values) - target) ** 2).mean(), values)[0]
print(f"output: largest |y - x| = {largest(undo(values), values):.0e}")
for name, lengths in (("without", without.norm(dim=0)), ("with", with_norm.norm(dim=0))):
    print(f"length of the gradient, per unit, {name:8}", [f"{one:.0e}" for one in lengths.tolist()])
assert largest(undo(values), values) < 1e-12

# %% [markdown]
# Here the loss wants every value to be 1. Its gradient is $x - 1$ up to a factor, a constant plus a
# multiple of $\hat{x}$, and the norm takes away both: all that this loss asks for is now the
# business of $\gamma$ and $\beta$.
#
# ## Shifted and badly scaled
#
# Why care about the mean and the scale of what an activation function sees? Its derivative is what
# it passes back. A ReLU far on the left passes nothing, one far on the right is linear; a sigmoid
# far out on either side is flat. The norm puts every unit into the middle, and $\gamma$ and $\beta$
# into whichever place training prefers.

# %%
unit = torch.randn(20_000, 1)
raw = {
    "shifted, $x - 4$": unit - 4,
    "too large, $10 x$": 10 * unit,
    "too small, $0.1 x$": unit / 10,
}
functions = {"ReLU": torch.relu, "sigmoid": torch.sigmoid}
grid_of_z = torch.linspace(-8, 8, 321)


def passed(function, z: Tensor) -> Tensor:
    """The derivative of the activation function at z."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(function(z).sum(), z)[0]


columns = {
    **raw,
    "normalised": BatchNorm(1, affine=False)(raw["shifted, $x - 4$"]),
    "$\\gamma = 2$, $\\beta = 1$": 2 * BatchNorm(1, affine=False)(raw["shifted, $x - 4$"]) + 1,
}
print(f"{'the unit is':24}{'ReLU: mean derivative':>24}{'sigmoid: mean derivative':>28}")
fig, grid = plt.subplots(2, 5, figsize=(11, 4), layout="constrained", sharex=True)
for column, (name, z) in zip(grid.T, columns.items(), strict=True):
    means = [passed(function, z).mean().item() for function in functions.values()]
    plain = name.replace("$", "").replace("\\", "")
    print(f"{plain:24}{means[0]:24.3f}{means[1]:28.3f}")
    for axes, (kind, function), mean in zip(column, functions.items(), means, strict=True):
        axes.plot(grid_of_z, passed(function, grid_of_z), "k", lw=1)
        height = 1 if kind == "ReLU" else 0.25
        counts, borders = torch.histogram(z.clamp(-8, 8).flatten(), 64, range=(-8.0, 8.0))
        axes.stairs(0.9 * height * counts / counts.max(), borders, fill=True, alpha=0.4)
        axes.set(xlim=(-8, 8), ylim=(-0.05 * height, 1.1 * height))
        axes.set_title(f"{name if kind == 'ReLU' else ''}\n{kind}: {mean:.2f} passes", fontsize=9)
for axes in grid[1]:
    axes.set_xlabel("$z$")
for axes in grid[:, 0]:
    axes.set_ylabel("derivative")

# %% [markdown]
# The line is the derivative of the activation function, the area the distribution of $z$ (not to
# scale; what lies beyond 8 is in the last bar). In the mean a normalised ReLU passes half of the
# gradient, a normalised sigmoid 0.21 of at most 0.25. The small unit loses nothing either; its
# trouble is that a sigmoid is a straight line there.
#
# ## Weights of any size
#
# Behind a norm the size of the weights does not matter (Ioffe & Szegedy 2015, section 3.3): for any
# $a > 0$, with $\epsilon = 0$,
#
# $$\mathrm{BN}(a W u) = \mathrm{BN}(W u), \qquad
# \frac{\partial L}{\partial (a W)} = \frac{1}{a} \frac{\partial L}{\partial W} .$$
#
# From the first follows that the gradient is orthogonal to each unit's weights: moving along them
# changes nothing.

# %%
inputs, labels = torch.randn(128, 10), torch.randint(5, (128,))
weights, readout = torch.randn(20, 10), torch.randn(20, 5)


def loss_of(weights: Tensor, eps: float = TINY) -> Tensor:
    """Of a linear layer, its norm, a ReLU and a fixed readout."""
    hidden = torch.relu(BatchNorm(20, eps=eps)(inputs @ weights.T))
    return nn.functional.cross_entropy(hidden @ readout, labels)


def gradient(weights: Tensor, eps: float = TINY) -> Tensor:
    """Of the loss with respect to the weights."""
    leaf = weights.detach().requires_grad_()
    return torch.autograd.grad(loss_of(leaf, eps), leaf)[0]


base = gradient(weights)
for a in (0.01, 1.0, 100.0):
    change = abs(loss_of(a * weights) - loss_of(weights)).item()
    off = largest(a * gradient(a * weights), base)
    with_eps = abs(loss_of(a * weights, 1e-5) - loss_of(weights, 1e-5)).item()
    print(f"a = {a:6}: loss changes by {change:.0e}, a * gradient by {off:.0e}; ", end="")
    print(f"with eps = 1e-5 the loss by {with_eps:.0e}")
    assert change < 1e-12 and off < 1e-12
along = (weights * base).sum(1).abs().max().item()
print(f"inner product of each unit's weights and gradient: at most {along:.0e}")
assert along < 1e-12

# %% [markdown]
# Two things follow for gradient descent. By Pythagoras weights only grow,
# $\|w_{t+1}\|^2 = \|w_t\|^2 + \eta^2 \|g_t\|^2$, and they grow the more the larger the steps. And
# as the gradient falls with $1 / \|w\|$, a step turns them by about $\eta / \|w\|^2$ times a
# gradient that does not depend on their size: the *effective learning rate* (van Laarhoven 2017),
# which the growth of the weights lowers by itself. Below, the same weights are multiplied by $a$
# and trained with the same $\eta$.

# %%
LR, STEPS = 1.0, 150
factors = (0.1, 0.3, 1.0, 3.0)
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for a in factors:
    w, norms, losses, added = a * weights, [], [], 0.0
    for _ in range(STEPS):
        norms.append(w.norm().item())
        losses.append(loss_of(w).item())
        g = gradient(w)
        w, added = w - LR * g, added + LR**2 * (g**2).sum().item()
    torch.testing.assert_close(w.norm().item() ** 2, norms[0] ** 2 + added)  # Pythagoras
    left.semilogy(norms, label=f"$a = {a}$")
    middle.semilogy([LR / norm**2 for norm in norms])
    right.plot(losses)
    print(f"a = {a}: ||w|| from {norms[0]:.1f} to {norms[-1]:.1f}, loss {losses[-1]:.3f}")
left.set(xlabel="step", ylabel="$\\|w\\|$")
left.legend(frameon=False, fontsize="small")
middle.set(xlabel="step", ylabel="effective lr, $\\eta / \\|w\\|^2$")
_ = right.set(xlabel="step", ylabel="loss", ylim=(0, None))

# %% [markdown]
# Weights that begin too small are thrown to a size that suits the learning rate within a few steps;
# those that begin large keep their size, and learn slowly. This is one mechanism behind a statement
# that the experiments test as a whole: with BatchNorm training depends less on the learning rate
# and the scale of the initial weights (`python scripts/train.py -m experiment=lr_by_init_vgg`).
