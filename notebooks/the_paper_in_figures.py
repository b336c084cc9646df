# %% [markdown]
# # The paper in figures
#
# Every figure of Santurkar et al. (2018), *How Does Batch Normalization Help Optimization?*, that
# is not a diagram (figure 7 is one), drawn from records that come with this repository
# (`results/reference/records`). It needs numpy and matplotlib, neither torch nor training.
#
# The runs are of *demo scale*, small enough to be committed: a VGG-11 of 1/8 of the width for 160
# steps on 1,500 images of digits (two seeds), where the paper trains a VGG on CIFAR-10 for
# 15,000; and the paper's linear network of 25 layers for 240 of its 10,000 steps (four seeds).
# They show the beginning of training on an easy problem, and two seeds are a range and no
# interval. What the paper claims is judged on larger runs, in `results/reference/vgg` and
# `results/reference/deep_linear`. Lines are means over seeds, shaded areas reach from the
# smallest to the largest.

# %%
# %matplotlib inline
from pathlib import Path
from types import ModuleType

from matplotlib.figure import Figure

import bnstudy
from bnstudy import figures
from bnstudy.results import load_runs

# Of this repository: that in which the notebook lies, or that from which bnstudy was installed.
PLACES = (Path.cwd(), *Path.cwd().parents, Path(bnstudy.__file__).parents[1])
RECORDS = next(
    records
    for place in PLACES
    for part in ("results/reference/records", "bnstudy/records")  # of a checkout, of a wheel
    if (records := place / part).is_dir()
)
EXPERIMENTS = ("vgg", "vgg_noise", "vgg_lp", "deep_linear", "deep_linear_lp")
RUNS = {experiment: load_runs(experiment, RECORDS) for experiment in EXPERIMENTS}
FIGURES = figures.discover()


def draw(name: str) -> Figure:
    """The figure of that name, of the runs that it reads."""
    figure: ModuleType = FIGURES[name]
    return figure.draw([run for experiment in figure.EXPERIMENTS for run in RUNS[experiment]])


for experiment, runs in RUNS.items():
    print(f"{experiment:15} {len(runs):2} runs, seeds {sorted({run.seed for run in runs})}")

# %% [markdown]
# ## 1: training with and without BatchNorm
#
# The paper: BatchNorm trains faster at learning rate 0.1 and still trains at 0.5, where the
# standard network does not; the distributions of activations differ only marginally. Here: at 0.1
# BatchNorm has 90 % training accuracy after 13 steps, the standard network after 132 and 151; at
# 0.5 it trains in both seeds, the standard network diverges in one and stays at chance in the
# other. Unlike the paper's, the activations of the standard network change a good deal: layer 7
# begins with a standard deviation of about 0.02 and ends at about 1.

# %%
draw("figure1")

# %% [markdown]
# ## 2: noise after BatchNorm
#
# The paper: random noise after every BatchNorm, other noise at every step, makes the
# distributions unstable and hardly harms training; so it is not their stability that helps. Here:
# the same, 17 steps to 90 % with the noise and 13 without it. The same noise on a network without
# BatchNorm keeps it at chance. The figure does not show that in evaluation mode noisy BatchNorm
# tests at 10 and 19 %, because its running statistics were taken under noise (the paper shows
# training accuracy only).

# %%
draw("figure2")

# %% [markdown]
# ## 8: the moments of activations, from step to step and since the start
#
# The paper: with noisy BatchNorm the mean of a unit moves by about 0.3 in every step, far more
# than in the standard network. Here it moves by 0.26 to 0.34, as the noise alone would (1/3),
# with BatchNorm by 0.002 or less. But from step 100 on, when it begins to learn, the standard
# network's moments move about as far as the noisy ones at layer 6, in one seed at layer 8 too, so
# "far less stable" depends on when one looks. That means and variances behind a norm stay put
# follows from what it is, and is no finding.

# %%
draw("figure8a")

# %%
draw("figure8b")

# %% [markdown]
# ## 3: internal covariate shift
#
# The paper (definition 2.1): compare a layer's gradient before and after the layers below it made
# their update. BatchNorm does not reduce the difference, and may increase it. Here: VGG's first
# steps are far worse with BatchNorm (cosine about 0); after that its cosines rise to near 1,
# while at lr 0.1 the standard network's, near 1 until it begins to learn, fall at layer 6 to
# between 0 and 0.8. In the linear network at lr $10^{-7}$ the standard network has a cosine of
# 1.00 in all four seeds, and with BatchNorm it lies anywhere from -0.9 to 1. This measure is tied
# to how near a run is to its edge of stability ([notebook](edge_of_stability.ipynb)), which is
# why the two learning rates look so different.

# %%
draw("figure3a")

# %%
draw("figure3b")

# %% [markdown]
# ## 4: the landscape along the gradient
#
# The paper: along the gradient the loss varies less with BatchNorm, the gradient changes less,
# and effective beta is smaller and steadier. Here: after step 80, when the standard network
# starts to learn, its loss along the gradient spans a factor of 4 to 33, BatchNorm's 1.4 to 1.7,
# and its gradient changes by 23 to 110, BatchNorm's by 0.11 at most; but BatchNorm has learned the
# digits by then, and its gradients are small for that reason. At step 0 BatchNorm is the rougher
# one by far (gradient change 20 and 23 against 0.2), as in the paper's own curves, of which its
# text does not speak. The larger run: `results/reference/vgg`.

# %%
draw("figure4")

# %% [markdown]
# ## 10: the landscape of the linear network
#
# The paper: the same over orders of magnitude. Here: the standard network has spikes, and *less*
# effective beta than BatchNorm in three of four seeds; BatchNorm sits at $2 / \eta$ in all four
# (its median after step 72 within 4 %). The same holds at paper scale with ten seeds
# (`results/reference/deep_linear`): the number follows the learning rate.

# %%
draw("figure10")

# %% [markdown]
# ## 11: gradient change against step size
#
# The paper: the curves of single steps, steeper and wider spread without BatchNorm. Here: so in
# VGG, where the curves of the standard network rise with $\eta$ and those of BatchNorm are nearly
# flat. In the linear network both rise in proportion to $\eta$ up to the learning rate; beyond it
# BatchNorm's level off, the standard network's go on.

# %%
draw("figure11")

# %% [markdown]
# ## 5: training with $l_p$ norms
#
# The paper: normalization by the $l_1$, $l_2$ or $l_\infty$ norm trains as well as BatchNorm,
# $l_1$ in the linear network better. Here: VGG trains equally fast with all of them (10 to 15
# steps to 90 %). In the linear network $l_2$ all but coincides with BatchNorm, $l_1$ is ahead in
# all four seeds, and $l_\infty$ has more loss than even the standard network in all four; at
# paper scale it has so in ten of ten seeds.

# %%
draw("figure5a")

# %%
draw("figure5b")

# %% [markdown]
# ## 6: activations under $l_p$ norms
#
# The paper: $l_p$ norms let the distributions shift more, and train well all the same. Here the
# distributions of layer 7 hardly move under any norm in 160 steps; what differs is their width,
# with $l_\infty$ within 1 by construction. So these runs do not show the paper's point.

# %%
draw("figure6")

# %% [markdown]
# ## 12, 13: the landscape with $l_p$ norms
#
# The paper: any normalization smooths. Here: in VGG effective beta of all norms starts above the
# standard network's and falls below it once that starts to learn, $l_\infty$ slowest. In the
# linear network $l_1$ and $l_2$ are near $2 / \eta$, as BatchNorm is, $l_1$ a little above in two
# of four seeds; $l_\infty$ is above it in all four, far above in two.

# %%
draw("figure12")

# %%
draw("figure13")

# %% [markdown]
# ## 9: activations of the linear network
#
# The paper shows them to say that without a norm the standard deviation of activations tends to
# be large and uncontrolled. Here, without a norm, the variance at layer 24 grows from 0.6 to 4.4
# in 240 steps, and at layer 1 it stays at 0.9; with BatchNorm it is about 1 at any depth
# ($\gamma^2$).

# %%
draw("figure9")

# %% [markdown]
# ## More
#
# `python scripts/figures.py --runs results/reference/records` writes these figures as PNG and
# PDF, and with them `random_directions` and two measurements that are often taken for the
# paper's. `python scripts/reproduce.py` makes the runs, at this scale in minutes, and a page with
# a verdict on every claim.
