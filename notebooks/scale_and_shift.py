# %% [markdown]
# # Why gamma and beta?
#
# Batch normalization gives every unit mean 0 and variance 1, and then scales and shifts what it
# just normalised:
#
# $$\hat{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y = \gamma \hat{x} + \beta .$$
#
# Here $\mu$ and $\sigma^2$ are the mean and the variance of the unit over the batch (for images,
# over all positions too), and $\gamma$ and $\beta$ are learned, one of each per unit. Why take a
# distribution away and then give two parameters to bring one back? Ioffe & Szegedy (2015, section
# 3) answer that normalizing alone may change what a layer can represent, and that with $\gamma$ and
# $\beta$ "the transformation inserted in the network can represent the identity transform". This
# notebook shows both halves of the sentence.

# %%
import matplotlib.pyplot as plt
import torch

from bnstudy.norms import BatchNorm

_ = torch.manual_seed(0)

# %% [markdown]
# ## The identity
#
# Set $\gamma = \sqrt{\sigma^2 + \epsilon}$ and $\beta = \mu$. Then
#
# $$y = \sqrt{\sigma^2 + \epsilon} \; \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \mu = x :$$
#
# the norm does nothing. No function that the network had without the norm was lost. The variance
# divides by the number of values, as BatchNorm's own does in training.

# %%
features = 3 + 2 * torch.randn(256, 5)
images = 0.1 * torch.rand(32, 5, 8, 8) - 1


def undone(inputs: torch.Tensor) -> BatchNorm:
    """A BatchNorm that is the identity on these inputs, [N, C] or [N, C, H, W]."""
    over = [0, *range(2, inputs.dim())]  # the batch, and the positions of images
    variance, mean = torch.var_mean(inputs, over, correction=0)
    norm = BatchNorm(inputs.shape[1])
    with torch.no_grad():
        norm.weight.copy_((variance + norm.eps).sqrt())  # gamma
        norm.bias.copy_(mean)  # beta
    return norm


for inputs in (features, images):
    outputs = undone(inputs)(inputs)
    torch.testing.assert_close(outputs, inputs)
    largest = (outputs - inputs).abs().max().item()
    print(f"{list(inputs.shape)!s:15} largest |y - x| = {largest:.0e}")

# %% [markdown]
# Equal up to rounding, on this batch. On the next one $\mu$ and $\sigma^2$ are a little different,
# so there $y$ is $x$ up to the noise of a batch's statistics. Undoing the norm is within reach;
# whether training goes there is another question, which the probe `scale_and_shift` answers.
#
# ## A ReLU without them
#
# A ReLU is zero where its input is not positive. For a unit of mean 0 that is about half of the
# time, exactly half if its distribution is symmetric. The layer cannot change that by its bias,
# which the norm subtracts again with $\mu$, nor by the scale of its weights, which it divides by
# with $\sigma$. It can by $\beta$. For a normal distribution the fraction of zeros is
#
# $$P(\gamma \hat{x} + \beta \le 0) = \Phi(-\beta / |\gamma|) .$$

# %%
normalize = BatchNorm(1, affine=False)  # without gamma and beta
x = 5 + 3 * torch.randn(20_000, 1)  # before the norm a ReLU is rarely zero here
x_hat = normalize(x)
betas = torch.linspace(-3, 3, 61)
zeros = torch.tensor([(x_hat + beta <= 0).double().mean() for beta in betas])
before = (x <= 0).double().mean().item()
without = (x_hat <= 0).double().mean().item()

fig, axes = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
axes.plot(betas, zeros, label="$\\gamma = 1$, measured")
axes.plot(betas, torch.special.ndtr(-betas), "k:", label="$\\Phi(-\\beta)$")
axes.plot(0, without, "o", label="without $\\gamma$ and $\\beta$")
axes.set(xlabel="$\\beta$", ylabel="fraction of ReLU zeros", ylim=(0, 1))
axes.legend(frameon=False)

print(f"zeros before the norm {before:.1%}, after it, without gamma and beta, {without:.1%}")
assert abs(without - 0.5) < 0.01

# %% [markdown]
# ## A sigmoid without them
#
# Near 0 the sigmoid $\frac{1}{2} + \frac{1}{2} \tanh(z/2)$ is nearly a straight line: where
# $|z| < 1$ its distance from $\frac{1}{2}$ is that of its tangent, $\frac{z}{4}$, to within 8 %. A
# normally distributed unit of mean 0 and variance 1 is there 68 % of the time. Layers that stay on
# straight lines are linear, and a deep network of them can do no more than a shallow one. With
# $\gamma$ the unit uses as much of the curve as it likes.

# %%
curve = torch.linspace(-6, 6, 241)
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
left.plot(curve, torch.sigmoid(curve), label="sigmoid")
left.plot(curve, 0.5 + curve / 4, "k:", label="tangent at 0")
left.hist(x_hat.flatten(), 60, density=True, alpha=0.4, label="$\\hat{x}$, without $\\gamma$")
left.hist(4 * x_hat.flatten(), 60, density=True, alpha=0.4, label="$\\gamma = 4$")
left.set(xlabel="$z$", xlim=(-6, 6), ylim=(0, 1.05))
left.legend(frameon=False, fontsize="small")

gammas = torch.logspace(-1, 1, 41)
within = torch.tensor([((gamma * x_hat).abs() < 1).double().mean() for gamma in gammas])
without = (x_hat.abs() < 1).double().mean().item()
right.semilogx(gammas, within, label="$\\beta = 0$")
right.plot(1, without, "o", label="without $\\gamma$ and $\\beta$")
right.set(xlabel="$\\gamma$", ylabel="fraction with $|z| < 1$", ylim=(0, 1.05))
right.legend(frameon=False)

print(f"without gamma and beta {without:.1%} of the inputs lie where a sigmoid is nearly linear")
assert abs(without - 0.68) < 0.02

# %% [markdown]
# ## With them, neither is forced
#
# The same normalised unit with three choices of $\gamma$ and $\beta$: one module, other numbers, so
# gradient descent can go from one to the other.

# %%
print(f"{'gamma':>6} {'beta':>5} {'ReLU zeros':>11} {'|z| < 1':>8}")
for gamma, beta in ((1, 0), (1, 2), (4, 0)):
    z = gamma * x_hat + beta
    zero, linear = (z <= 0).double().mean().item(), (z.abs() < 1).double().mean().item()
    print(f"{gamma:6} {beta:5} {zero:11.1%} {linear:8.1%}")

# %% [markdown]
# So what did the norm change? Not which mean and variance a unit can have, but how they are set:
# without a norm they follow from the weights of all layers below it; with one they are $\beta$ and
# $\gamma^2$, whatever happens below. The functions are the same, their parameters are others, and
# gradient descent moves parameters (Goodfellow, Bengio & Courville 2016, section 8.7.1).
#
# Whether a network needs them is an experiment: `python scripts/train.py -m
# experiment=scale_and_shift` trains with BatchNorm, with BatchNorm without $\gamma$ and $\beta$,
# and without a norm, for ReLU, sigmoid and tanh.
