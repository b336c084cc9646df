"""What figures are made of: small functions that draw runs into axes."""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from bnstudy.figures import style
from bnstudy.measures import activations, landscape, moments, train
from bnstudy.measures import internal_covariate_shift as shift
from bnstudy.measures.activations import histogram_grid, histograms, rebin
from bnstudy.measures.grids import at_lr
from bnstudy.measures.landscape import edges, effective_beta, smallest_step
from bnstudy.measures.layers import find_layer
from bnstudy.measures.series import align, average, smooth, thin, window
from bnstudy.measures.stability import edge_formula, edge_of_stability
from bnstudy.results import Run, Series, Steps, Values, comparable

Read = Callable[[Run], Series]
Cell = list[Run]  # the runs of one arm at one lr, which differ in the seed only: never empty

PAIR = ("none", "batch")  # the two arms of most figures
LP = (*PAIR, "l1", "l2", "linf")  # the arms of figures 5, 6, 12, 13

LABELS = {landscape.LOSS: "L(θ − ηg)", landscape.CHANGE: "‖∇L(θ − ηg) − ∇L(θ)‖"}

# What is said below the figures.
PENALTY_NOTE = (
    "The paper's losses seem to include an L2 penalty, ours do not; how its norms add up over the "
    "layers is not stated, so compare ratios."
)
SHIFT_NOTE = "G: a layer's gradient; G′: after the layers below it made their update, same batch."
RIDGES_NOTE = (
    "Histograms: after the norm and its noise, before the activation function; the recorded units "
    "of one run pooled on one grid, first step at the back, each ridge scaled to its own height."
)


# Which runs, which layers


def choose(runs: Sequence[Run], *compared: Sequence[str], also: Sequence[str] = ()) -> list[Run]:
    """The runs a figure may draw: those that differ in norm, lr, seed and what `also` names only.

    `compared` are the names of the experiments that are compared with each other. A figure that
    shows several side by side gives each in a sequence of its own.
    Raises ValueError, with the command that makes some, if there are none.
    """
    chosen: list[Run] = []
    for names in compared:
        own = [run for name in names for run in runs if run.experiment == name]
        chosen += comparable(own, also)
    if not chosen:
        experiments = [name for names in compared for name in names]
        commands = " or ".join(f"python scripts/train.py -m experiment={e}" for e in experiments)
        raise ValueError(f"There are no runs of {' or '.join(experiments)}; make some: {commands}")
    return chosen


def lr_of(runs: Sequence[Run], usual: float) -> float:
    """The lr that a figure shows: the usual one, or of other runs that at which most are."""
    return lrs_of(runs, (usual,))[0]


def lrs_of(runs: Sequence[Run], usual: Sequence[float]) -> list[float]:
    """The lrs that a figure shows: the usual ones, or of other runs those at which most are."""
    if not runs or any(at_lr(runs, lr) for lr in usual):
        return list(usual)
    found = Counter(run.lr for run in runs).most_common(len(usual))
    return sorted((lr for lr, _ in found), reverse=True)


def cells(
    axes: Axes, runs: Sequence[Run], lrs: Sequence[float], key: str, norms: Sequence[str] = PAIR
) -> list[Cell]:
    """The runs that recorded `key`, by lr and norm; a text in the panel says what is missing."""
    found: list[Cell] = []
    missing: list[str] = []
    for lr in lrs:
        by_norm = {n: [run for run in at_lr(runs, lr) if run.norm == n] for n in norms}
        absent = [norm for norm, cell in by_norm.items() if not cell]
        if absent:
            missing.append(no_runs_at([] if absent == list(norms) else absent, lr))
        recorded = {n: [run for run in cell if key in run] for n, cell in by_norm.items()}
        found += [cell for cell in recorded.values() if cell]
        silent = [norm for norm, cell in by_norm.items() if cell and not recorded[norm]]
        if silent:
            whose = "" if len(silent) == len(norms) - len(absent) else f" for {names_of(silent)}"
            missing.append(f"{key.rsplit('/layer')[0]} was not recorded{whose}")
    if missing:
        write(axes, "\n".join(dict.fromkeys(missing)), middle=not found)
    return found


def no_runs_at(norms: Sequence[str], lr: float) -> str:
    return f"no {names_of(norms)} runs at lr\u00a0{style.number(lr)}".replace("  ", " ")


def names_of(norms: Sequence[str]) -> str:
    *names, last = [style.arm(norm).name for norm in norms] or [""]
    return f"{', '.join(names)} or {last}" if names else last


def lowest_seeds(runs: Sequence[Run]) -> list[Run]:
    """Of each arm the run with the lowest seed, for what shows one run only."""
    return list({run.norm: run for run in sorted(runs, key=lambda run: -run.seed)}.values())


def titled_layer(runs: Sequence[Run], number: int, of: int, kind: str) -> tuple[str, str] | None:
    """The layer that stands for layer `number` of the paper's `of`, and what to call it.

    It is that of the first run that has any recorded `kind`, None if no run has.
    """
    for run in runs:
        index = find_layer(run, number, of, kind)
        if index is not None:
            title = f"layer {index}" + ("" if index == number else f" (paper:\u00a0{number})")
            return run.layers[index - 1], title
    return None


# Reductions of one run


def ridge(counts: Values) -> Values:
    """The height of a histogram as a ridge, from 0 to about 1.

    Measured by the fifth highest cell and cut a little above: a unit that is constant puts all its
    counts into a cell or two, and its spike would flatten what the other units do.
    """
    peak = np.sort(counts)[-5] or counts.max()
    return np.minimum(counts / peak, 1.3) if peak > 0 else counts


# Curves and bands


def curve(
    axes: Axes,
    cell: Cell,
    read: Read,
    log: bool = False,
    linestyle: Any = "-",
    label: str | None = None,
) -> None:
    """One arm: the mean over seeds (geometric if `log`), and from the smallest to the largest.

    A cross where a run diverged, a triangle at the top where the mean is not finite. `label` is
    what the legend says, by default `seeds_label`.
    """
    series = [read(run) for run in cell]
    steps, values = align(series)
    _line(axes, cell, steps, average(values, log), log, linestyle, 1.4, label)
    if len(cell) > 1:
        low = drawable(np.fmin.reduce(values, axis=0), log)
        high = drawable(np.fmax.reduce(values, axis=0), log)
        axes.fill_between(steps, low, high, color=_look(cell).colour, alpha=0.2, linewidth=0)
    mark_diverged(axes, cell, series, log)


def band(axes: Axes, cell: Cell, key: str, log: bool) -> None:
    """One arm: per run the range over the step sizes; its two edges averaged over seeds."""
    ranges = [edges(run, key) for run in cell]
    area(axes, cell, ranges, log)
    mark_diverged(axes, cell, [(steps, high) for steps, _, high in ranges], log)


def area(
    axes: Axes,
    cell: Cell,
    ranges: Sequence[tuple[Steps, Values, Values]],
    log: bool,
    label: str | None = None,
) -> None:
    """One arm: several ranges, each of steps, low and high; their two edges averaged."""
    steps, lows = align([(steps, low) for steps, low, _ in ranges])
    _, highs = align([(steps, high) for steps, _, high in ranges])
    low, high = average(lows, log), average(highs, log)
    bottom, top, colour = drawable(low, log), drawable(high, log), _look(cell).colour
    axes.fill_between(steps, bottom, top, color=colour, alpha=0.3, linewidth=0)
    axes.plot(steps, bottom, color=colour, linewidth=0.8)
    _line(axes, cell, steps, high, log, "-", 0.8, label)


def units(axes: Axes, cell: Cell, read: Read) -> None:
    """One arm: the first recorded unit of the lowest seed, and from the smallest to the largest.

    `read` gives values [n, units]; the area is over all recorded units of all seeds.
    """
    cell = sorted(cell, key=lambda run: run.seed)
    series = [read(run) for run in cell]
    first = [(steps, values[:, 0]) for steps, values in series]
    each = [(steps, unit) for steps, values in series for unit in values.T]
    steps, values = align(each)
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    bottom, top = drawable(low, log=False), drawable(high, log=False)
    axes.fill_between(steps, bottom, top, color=_look(cell).colour, alpha=0.2, linewidth=0)
    _line(axes, cell, *first[0], log=False, linestyle="-", linewidth=0.9, label=None)
    mark_diverged(axes, cell, first, log=False)


def drawable(values: Values, log: bool) -> Values:
    """The values with NaN, a gap, for what the axis cannot show."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & ((values > 0) | (not log)), values, np.nan)


def seeds_label(cell: Cell, lr: bool = False, more: str = "") -> str:
    """The legend of a cell: its arm and `more`, `lr`, n, and how many runs did not finish."""
    name = _look(cell).name + more + (f", lr {style.number(cell[0].lr)}" if lr else "")
    text = f"n = {len(cell)}"
    for outcome in ("diverged", "interrupted"):
        count = sum(run.outcome == outcome for run in cell)
        text += f", {count} {outcome}" if count else ""
    return f"{name} ({text})"


def _look(cell: Cell) -> style.Look:
    return style.arm(cell[0].norm)


def _line(
    axes: Axes,
    cell: Cell,
    steps: Steps,
    values: Values,
    log: bool,
    linestyle: Any,
    linewidth: float,
    label: str | None,
) -> None:
    if log:
        log_axis(axes)
    arm = _look(cell)
    # A few markers per curve, at other places for every arm: in grey, colours are not enough.
    spacing = max(1, len(steps) // 6)
    place = list(style.LOOKS).index(cell[0].norm) if cell[0].norm in style.LOOKS else 0
    offset = place * spacing // len(style.LOOKS)
    axes.plot(
        steps,
        drawable(values, log),
        color=arm.colour,
        linestyle=linestyle,
        linewidth=linewidth,
        marker=arm.marker,
        markersize=3.2,
        markevery=(offset, spacing),
        label=label or seeds_label(cell),
    )
    infinite = steps[np.isinf(values)]
    if len(infinite):
        look = {"marker": "^", "linestyle": "", "markersize": 4}
        place = {"transform": axes.get_xaxis_transform(), "color": arm.colour, "clip_on": False}
        axes.plot(infinite, np.ones(len(infinite)), **place, **look)
        explain(axes, "not finite", **look)


def mark_diverged(axes: Axes, cell: Cell, series: Sequence[Series], log: bool) -> None:
    """A cross at the last value that can be drawn of every run that diverged."""
    look = {"marker": "x", "linestyle": "", "markersize": 6, "markeredgewidth": 1.6}
    for run, (steps, values) in zip(cell, series, strict=True):
        shown = np.flatnonzero(np.isfinite(drawable(values, log)))
        if run.outcome == "diverged" and len(shown):
            last = shown[-1]
            axes.plot(steps[last], values[last], color=_look(cell).colour, **look)
            explain(axes, "end of a diverged run", **look)


def explain(axes: Axes, label: str, **look: Any) -> None:
    """An entry of the legend, once and in grey, for what all arms share."""
    if label not in axes.get_legend_handles_labels()[1]:
        axes.add_line(Line2D([], [], color=style.GREY, label=label, **look))


# Axes


def log_axis(axes: Axes) -> None:
    """A logarithmic y axis, with plain numbers where it spans less than two decades."""

    def tick(value: float, _: int) -> str:
        low, high = sorted(axes.get_ylim())
        exponent = math.floor(math.log10(value) + 1e-9)
        leading = round(value / 10**exponent)
        if high > 100 * low:
            return f"$10^{{{exponent}}}$" if leading == 1 else ""
        wanted = (1, 3) if high > 10 * low else (1, 2, 3, 5)
        return style.number(value) if leading in wanted else ""

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(FuncFormatter(tick))


def step_axis(axes: Axes, runs: Sequence[Run]) -> None:
    """The x axis of a curve over training: from step 0 to the last, whatever was recorded."""
    last = max(run.config["steps"] for run in runs)
    axes.set(xlabel="step", xlim=(-0.02 * last, 1.02 * last))


def outermost(row: Sequence[Axes]) -> Axes:
    """The first panel of a row that has an axis; of panels that share it, now it has the labels."""
    outer = next((axes for axes in row if axes.axison), row[0])
    outer.tick_params(labelleft=True, which="both")
    return outer


def reference_lines(axes: Axes, runs: Sequence[Run]) -> None:
    """Where effective beta sits when it says nothing of the network: 1 / eta_min and the edge.

    1 / eta_min: the gradient changed completely within the smallest step. The edge of stability is
    2 / lr for plain SGD; without a line where it is not known or a schedule changes it. One line
    where they coincide, as with the paper's step sizes for VGG.
    """
    steps, etas = align([smallest_step(run) for run in runs])
    smallest = float(np.nanmin(etas))
    edges_of = np.array([edge_of_stability(run, steps) for run in runs])
    levels = {"1/η$_{min}$": 1 / smallest}
    if np.ptp(edges_of) <= 1e-6 * edges_of.max():  # it is known, and one for all runs and steps
        edge, name = float(edges_of[0, 0]), edge_formula(runs[0])
        levels |= {name: edge}
        if math.isclose(1 / smallest, edge, rel_tol=0.01):
            levels = {f"1/η$_{{min}}$\n= {name}": edge}
    # Beside the panel, because inside the curves run along the lines; apart where both are.
    places = ("bottom", "top") if len(levels) == 2 else ("center",)
    for (text, level), va in zip(levels.items(), places, strict=True):
        axes.axhline(level, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
        label, place = f"{text}\n= {style.number(level)}", axes.get_yaxis_transform()
        look: dict[str, Any] = {"va": va, "color": style.GREY, "fontsize": style.SMALL}
        axes.text(1.02, level, label, transform=place, **look)


# Histograms over training


def ridges(axes: Axes, run: Run, layer: str) -> None:
    """Histograms of a layer's activations, the first step at the back, the last in front.

    Every record, or every 2nd, 5th, 10th ... so that there are no more than 16; the recorded units
    pooled on one grid. Every ridge is scaled to its own height, or the sharpest would flatten all
    others.
    """
    steps, counts, ranges = histograms(run, layer)
    strides = (digit * 10**zeros for zeros in range(9) for digit in (1, 2, 5))
    stride = next(stride for stride in strides if len(steps) <= 16 * stride)
    steps, counts, ranges = steps[::stride], counts[::stride], ranges[::stride]
    grid = histogram_grid(counts, ranges)
    centres = (grid[1:] + grid[:-1]) / 2
    arm = style.arm(run.norm)
    look: dict[str, Any] = {"facecolor": arm.light, "edgecolor": arm.colour, "linewidth": 0.7}
    for row in range(len(steps)):
        height = 2 * ridge(rebin(counts[row], ranges[row], grid))
        axes.fill_between(centres, -row, height - row, zorder=2 + row, **look)
    shown = range(0, len(steps), 2)
    axes.set_yticks([-row for row in shown], [str(steps[row]) for row in shown])
    axes.set(xlim=(grid[0], grid[-1]), xlabel="activation", ylabel="step")
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)


def ridges_of(
    axes: Axes, runs: Sequence[Run], norm: str, lr: float, number: int, of: int, title: str = ""
) -> None:
    """The ridges of an arm's lowest seed at a layer of the paper; the title says which, last."""
    found = [run for run in lowest_seeds(at_lr(runs, lr)) if run.norm == norm]
    kind = activations.HISTOGRAM
    layer = titled_layer(found, number, of, kind)
    if layer is None:
        write(axes, f"{kind} was not recorded" if found else no_runs_at([norm], lr))
        return
    run = found[0]
    ridges(axes, run, layer[0])
    outcome = "" if run.outcome == "finished" else f", {run.outcome}"
    name = style.arm(norm).name
    says = f"{title}{layer[1]}\n{name}, seed\u00a0{run.seed}{outcome}"
    axes.set_title(wrap(axes, says))


# The paper's curves


@cache
def paper_curves() -> dict[str, Any]:
    """The curves read out of the paper's figures; `_about` tells how."""
    return json.loads(Path(__file__).with_name("paper_curves.json").read_text(encoding="utf-8"))


def comparable_to_paper(runs: Sequence[Run]) -> bool:
    """Whether the paper's curves may be drawn over these runs: its scale, its network, its data."""
    return all(
        run.scale == "paper"
        and run.choices["model"] in ("vgg", "deep_linear")
        and run.choices["data"] in ("cifar10", "deep_linear")
        for run in runs
    )


def paper(axes: Axes, cell: Cell, panel: str, suffix: str = "") -> None:
    """The paper's curve, or the edges of its band, of a cell's arm: thin and dashed.

    Nothing if the runs are not of the paper's size, or the paper has no such curve.
    """
    points = paper_curves().get(panel, {}).get(_look(cell).paper + suffix)
    if points is None or not comparable_to_paper(cell):
        return
    for key in ("y", "lo", "hi"):
        if key in points:
            look = style.PAPER_LINE | {"color": _look(cell).dark}
            axes.plot(points["x"], points[key], zorder=3, **look)
    explain(axes, "paper", **style.PAPER_LINE)


def paper_median(axes: Axes, cell: Cell, panel: str) -> None:
    """The median over steps of the paper's curves of gradient change against step size."""
    points = paper_curves().get(panel + _look(cell).paper)
    if points is None or not comparable_to_paper(cell):
        return
    rows = next(rows for key, rows in points.items() if key != "eta")
    axes.plot(points["eta"], np.median(rows, axis=0), color="black", **style.PAPER_LINE)
    explain(axes, "paper, median", **style.PAPER_LINE)


# Panels that figures share


def training_accuracies(
    axes: Axes,
    runs: Sequence[Run],
    lr: float,
    curves: str,
    norms: Sequence[str] = PAIR,
    name_lr: bool = False,
) -> None:
    """The accuracy of the training batches in percent, a running mean, at one learning rate."""
    for cell in cells(axes, runs, [lr], train.ACCURACY, norms):
        read = partial(smooth, key=train.ACCURACY, factor=100)
        curve(axes, cell, read, label=seeds_label(cell, name_lr))
        paper(axes, cell, curves)
    step_axis(axes, runs)
    axes.set(ylabel="training accuracy (%)", ylim=(-3, 103))


def training_losses(
    axes: Axes,
    runs: Sequence[Run],
    lr: float,
    curves: str,
    norms: Sequence[str] = PAIR,
    name_lr: bool = False,
) -> None:
    """The training loss on a logarithmic axis, thinned, at one learning rate."""
    for cell in cells(axes, runs, [lr], train.LOSS, norms):
        read = partial(thin, key=train.LOSS)
        curve(axes, cell, read, log=True, label=seeds_label(cell, name_lr))
        paper(axes, cell, curves)
    step_axis(axes, runs)
    axes.set(ylabel="training loss")


def running_note(runs: Sequence[Run]) -> str:
    """What `smooth` makes of the runs, for the lines below the figure."""
    steps = window(runs[0])
    return f"Accuracy: running mean over {steps} steps." if steps > 1 else ""


def bands(
    axes: Axes,
    runs: Sequence[Run],
    lr: float,
    key: str,
    log: bool,
    curves: str = "",
    norms: Sequence[str] = PAIR,
) -> None:
    """The range of `key` over the step sizes along the line, over training."""
    for cell in cells(axes, runs, [lr], key, norms):
        band(axes, cell, key, log)
        paper(axes, cell, curves)
    step_axis(axes, runs)


def betas(
    axes: Axes,
    runs: Sequence[Run],
    lr: float,
    log: bool,
    curves: str = "",
    norms: Sequence[str] = PAIR,
) -> None:
    """Effective beta-smoothness over training, with the levels at which it says nothing."""
    found = cells(axes, runs, [lr], landscape.CHANGE, norms)
    for cell in found:
        curve(axes, cell, effective_beta, log)
        paper(axes, cell, curves)
    if found:
        reference_lines(axes, [run for cell in found for run in cell])
    step_axis(axes, runs)
    axes.set(ylabel="effective β")


def landscape_panels(
    figure: Figure, runs: Sequence[Run], lr: float, curves: Sequence[str], log: bool
) -> None:
    """Loss, gradient change and effective beta along the gradient, a panel each (figures 4, 10).

    `curves` are the paper's three in paper_curves.json. The loss axis is logarithmic always, the
    others if `log`.
    """
    loss, change, beta = figure.subplots(1, 3)
    bands(loss, runs, lr, landscape.LOSS, True, curves[0])
    bands(change, runs, lr, landscape.CHANGE, log, curves[1])
    betas(beta, runs, lr, log, curves[2])
    loss.set(title="(a) loss along the gradient", ylabel=LABELS[landscape.LOSS])
    change.set(title="(b) gradient change", ylabel=LABELS[landscape.CHANGE])
    beta.set(title="(c) effective β-smoothness")
    legend(figure, [loss, change, beta])


def landscape_panels_of_arms(
    figure: Figure,
    runs: Sequence[Run],
    lr: float,
    curves: Sequence[str],
    log: bool,
    norms: Sequence[str] = LP,
) -> tuple[Axes, Axes]:
    """As `landscape_panels` for more arms than can be drawn over each other (figures 12, 13).

    A row of panels for the loss and one for the gradient change, a panel per arm; every row has one
    y axis. Returns the two panels above them: the one of effective beta, on the right, after the
    one that is left free for the training performance.
    """
    (above,), (below,) = figure.subfigures(2, 1, height_ratios=[1, 1.5], squeeze=False)
    left, beta = above.subplots(1, 2)
    betas(beta, runs, lr, log, curves[2], norms)
    beta.set(title="(d) effective β-smoothness")
    grid = below.subplots(2, len(norms), sharex=True, sharey="row")
    rows = ((landscape.LOSS, True, curves[0], "(b) "), (landscape.CHANGE, log, curves[1], "(c) "))
    for row, (key, is_log, name, letter) in zip(grid, rows, strict=True):
        for axes, norm in zip(row, norms, strict=True):
            bands(axes, runs, lr, key, is_log, name, [norm])
            axes.set_title((letter if axes is row[0] else "") + style.arm(norm).name)
            axes.set_xlabel("step" if key == landscape.CHANGE else "")
        outermost(row).set_ylabel(LABELS[key])
    return left, beta


def bands_note(runs: Sequence[Run]) -> str:
    """What `bands` are, for the lines below the figure; `runs` are of one lr."""
    probed = [run for run in runs if landscape.STEP_SIZE in run]
    if not probed:
        return ""
    lr = probed[0].lr
    multiples = [style.number(eta / lr) for eta in probed[0][landscape.STEP_SIZE][1][0]]
    averaged = ", edges averaged over seeds" if seeds_note(runs) else ""
    return (
        f"lr\u00a0{style.number(lr)}, smallest to largest over the step sizes "
        f"η = lr × {{{', '.join(multiples)}}}{averaged}."
    )


def landscape_note(runs: Sequence[Run], letters: str = "abc") -> str:
    """What the panels of a landscape are, for the lines below the figure; `runs` are of one lr."""
    loss, change, beta = letters
    ranges = bands_note(runs)
    betas = f"({beta}): largest gradient change / ‖ηg‖ over the step sizes."
    return f"({loss}), ({change}): {ranges} {betas} {seeds_note(runs)}" if ranges else ""


def shift_panels(
    figure: Figure, runs: Sequence[Run], lrs: Sequence[float], layers: Sequence[int], of: int
) -> list[Axes]:
    """Definition 2.1 per layer: ||G - G'|| above the cosine, two rows of panels per lr (figure 3).

    `layers` are numbers of the paper, whose network has `of`. Returns the panels that are left
    free, one per lr, for the training performance.
    """
    name = "fig3b" if of == 25 else "fig3a"
    grid = figure.add_gridspec(
        2 * len(lrs), 1 + len(layers), width_ratios=[1.2] + [1] * len(layers)
    )
    for i, lr in enumerate(lrs):
        for j, number in enumerate(layers, start=1):
            for k, (kind, short) in enumerate(((shift.L2, "l2"), (shift.COSINE, "cos"))):
                axes = figure.add_subplot(grid[2 * i + k, j])
                curves = f"{name}_ics_{short}_layer{number}_lr{style.number(lr)}"
                _shift(axes, runs, lr, kind, number, of, curves)
    return [figure.add_subplot(grid[2 * i : 2 * i + 2, 0]) for i in range(len(lrs))]


def _shift(
    axes: Axes, runs: Sequence[Run], lr: float, kind: str, number: int, of: int, curves: str
) -> None:
    log = kind == shift.L2
    layer = titled_layer(runs, number, of, kind)
    if layer is None:
        write(axes, f"{kind} was not recorded")
        return
    key = f"{kind}/{layer[0]}"
    found = cells(axes, runs, [lr], key)
    for cell in found:
        curve(axes, cell, lambda run: run[key], log, label=seeds_label(cell, lr=True))
        paper(axes, cell, curves)
    step_axis(axes, runs)
    if log:
        axes.set(title=f"{layer[1]}, lr {style.number(lr)}", ylabel="‖G − G′‖", xlabel="")
        axes.tick_params(labelbottom=False)
    elif found:
        axes.set(ylabel="cosine of G, G′", ylim=(-1.08, 1.08), yticks=(-1, 0, 1))
        axes.axhline(0, color=style.GREY, linewidth=0.5, zorder=1)


def moment_panels(
    figure: Figure,
    runs: Sequence[Run],
    lr: float,
    norms: Sequence[str],
    labels: dict[str, str],
    one: Callable[[Axes, Cell, str], None],
) -> None:
    """What `one` draws of the mean (above) and the variance of layers #2, #9, #13 (figure 8).

    `one` is called with the axes, a cell and <moment>/<layer>; `labels` name the y axes.
    """
    layers, of = (2, 9, 13), 13
    grid = figure.subplots(2, len(layers), sharex=True)
    for row, moment in zip(grid, labels, strict=True):
        for axes, number in zip(row, layers, strict=True):
            kind = f"{moments.PREFIX}{moment}"
            layer = titled_layer(runs, number, of, kind)
            if layer is None:
                write(axes, f"{kind} was not recorded")
                continue
            for cell in cells(axes, runs, [lr], f"{kind}/{layer[0]}", norms):
                one(axes, cell, f"{moment}/{layer[0]}")
            step_axis(axes, runs)
            axes.set(title=layer[1] if moment == "mean" else "")
            axes.set(xlabel="step" if moment == "variance" else "")
        row[0].set_ylabel(labels[moment])
    legend(figure, list(grid.flat))


# Words


def write(axes: Axes, text: str, middle: bool = True) -> None:
    """A text instead of a panel, or, if not `middle`, where it hides least of what is there."""
    if middle:
        look: dict[str, Any] = {"ha": "center", "va": "center", "color": style.GREY}
        axes.text(0.5, 0.5, wrap(axes, text), transform=axes.transAxes, **look)
        axes.set_axis_off()
    else:
        look = {"loc": "best", "labelcolor": style.GREY, "frameon": True, "edgecolor": "none"}
        axes.legend([Line2D([], [])], [wrap(axes, text)], handlelength=0, handletextpad=0, **look)


def wrap(axes: Axes, text: str) -> str:
    """The text in lines no longer than its panel is wide; a metric key breaks after its slash."""
    place = axes.get_subplotspec()
    width = round(88 * (len(place.colspan) / place.get_gridspec().ncols if place else 1))
    lines = []
    for line in text.split("\n"):
        words = [
            word if len(word) <= width else word.replace("/", "/ ") for word in line.split(" ")
        ]
        lines.append(textwrap.fill(" ".join(words), width))
    return "\n".join(lines)


def seeds_note(runs: Sequence[Run]) -> str:
    """What lines and shaded areas are, where there is more than one seed."""
    if len({run.seed for run in runs}) < 2:
        return ""
    return "Lines: mean over seeds (geometric on logarithmic axes); shaded: smallest to largest."


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels, every name once; arms first, then what they share."""
    named: dict[str, Any] = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        named |= {text: h for h, text in zip(handles, labels, strict=True) if text not in named}
    if named:
        names = sorted(named, key=lambda text: named[text].get_color() == style.GREY)
        rows = math.ceil(len(names) / (3 if max(map(len, names)) < 29 else 2))
        place: dict[str, Any] = {
            "loc": "outside upper center",
            "ncols": math.ceil(len(names) / rows),
        }
        figure.legend([named[text] for text in names], names, **place)


def finish(
    figure: Figure,
    given: Sequence[Run],
    chosen: Sequence[Run],
    *notes: str,
    shown: Sequence[Run] | None = None,
    label_of: Callable[[Run], str] = attrgetter("label"),
) -> None:
    """The lines below a figure: what the runs are, their seeds, and how many are left out.

    `shown` are those of the `chosen` that the figure shows, if it does not show all.
    """
    lines = []
    shown = shown or chosen
    for label in dict.fromkeys(map(label_of, shown)):
        seeds = sorted({run.seed for run in shown if label_of(run) == label})
        lines.append(f"{label}; {_seeds(seeds)}.")
    left_out = Counter(run.experiment for run in given) - Counter(r.experiment for r in chosen)
    if left_out:
        listed = [f"{n} {'run' if n == 1 else 'runs'} of {name}" for name, n in left_out.items()]
        notes = (*notes, f"Left out (other settings, or made twice): {', '.join(listed)}.")
    lines += textwrap.wrap(" ".join(note.strip() for note in notes if note), width=126)
    look: dict[str, Any] = {"ha": "left", "fontsize": style.SMALL, "color": style.GREY}
    figure.supxlabel("\n".join(lines), x=0.01, **look)
    # Ticks are made when a figure is drawn: now, while the style is in force.
    figure.draw_without_rendering()


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]} (n = 1)"
    joined = len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1
    listed = f"{seeds[0]}–{seeds[-1]}" if joined else ", ".join(map(str, seeds))
    return f"seeds {listed} (n = {len(seeds)})"
