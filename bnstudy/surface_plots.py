"""Loss surfaces read back and drawn: a picture, and a page to turn them on. Needs no torch."""

import html
import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from bnstudy.figures import style

Values = NDArray[np.float64]

COLOURS = "viridis"  # told apart by the colour blind, and in grey
LEVELS = 20
WIDE = 30.0  # from this ratio of the largest to the smallest loss on, the scale is logarithmic
LOSS, CURVE, MARK = "#0068A5", "#D55E00", "#111111"
NOT_FINITE = "not finite"
# On a phone the contours go below the surface.
NARROW = """
const plot = document.getElementById("surface");
if (window.innerWidth < 700) {
  plot.style.height = "1000px";
  Plotly.relayout(plot, {
    "scene.domain": {x: [0, 1], y: [0.5, 1]}, "xaxis.domain": [0, 1], "yaxis.domain": [0, 0.4],
    height: 1000,
  });
}
"""


@dataclass(frozen=True, eq=False)
class Surface:
    """A loss surface as its file tells it; `surface["loss"]` is the mean over the batches.

    `values` holds, by key, [A, batches] on a line and [B, A, batches] on a plane, for the A and B
    coordinates in `axes`.
    """

    header: dict[str, Any] = field(repr=False)
    axes: tuple[Values, ...]
    values: dict[str, Values] = field(repr=False)

    def __getitem__(self, key: str) -> Values:
        """The mean over the batches, [A] or [B, A]; not finite where it is not on any of them."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.values[key].mean(axis=-1)

    @property
    def is_plane(self) -> bool:
        """Whether it has two dimensions."""
        return len(self.axes) == 2


def load_surface(path: Path | str) -> Surface:
    """The surface written to a file by bnstudy.surfaces.

    Raises ValueError, naming the file, where it is no surface or is not finished.
    """
    try:
        first, *lines = Path(path).read_text(encoding="utf-8").splitlines()
        header = json.loads(first)["header"]
        points = [json.loads(line) for line in lines]
        axes = tuple(np.array(axis, dtype=np.float64) for axis in header["asked"]["axes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no loss surface, or broken: move it away.") from error
    sizes = tuple(len(axis) for axis in reversed(axes))
    if len(points) != np.prod(sizes):
        raise ValueError(
            f"{path} has {len(points)} of its {np.prod(sizes)} points; give the command that "
            "made it again to go on."
        )
    # float64 reads "NaN" and "Infinity" too, as which the file keeps what JSON cannot write.
    values = {
        key: np.array([point[key] for point in points], dtype=np.float64).reshape(*sizes, -1)
        for key in points[0]
        if key != "at"
    }
    return Surface(header, axes, values)


# The picture


def draw(surface: Surface) -> Figure:
    """A curve with the range over the batches, or contours beside the surface in 3-D.

    Points where the loss is not finite are crossed, and the areas beside them hatched: nothing is
    drawn across them.
    """
    with style.context():
        figure = _draw_plane(surface) if surface.is_plane else _draw_line(surface)
        width = 118 if surface.is_plane else 84  # characters
        title = textwrap.fill(surface.header["title"], width)
        figure.suptitle(title, x=0.01, ha="left", fontsize=8.5)
        caption = textwrap.fill(surface.header["caption"], width)
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=style.SMALL, color=style.GREY)
    return figure


def _draw_line(surface: Surface) -> Figure:
    keys = list(surface.values)
    figure = Figure(figsize=(5.0, 3.0 + 1.4 * (len(keys) - 1)), layout="constrained")
    heights = [2.4, *[1.2] * (len(keys) - 1)]
    rows = figure.subplots(len(keys), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    (a,) = surface.axes
    for axes, key in zip(rows, keys, strict=True):
        values = surface.values[key]
        finite = _all_finite(values)
        within = np.where(finite[:, None], values, np.nan)
        axes.fill_between(a, within.min(1), within.max(1), color=LOSS, alpha=0.25, linewidth=0)
        axes.plot(a, within.mean(1), color=LOSS, marker=".", markersize=3, linewidth=1.2)
        if key == "loss" and _is_wide(within):
            axes.set_yscale("log")
        if not finite.all():
            # At the top of the panel, whatever its scale.
            axes.plot(
                a[~finite],
                np.full((~finite).sum(), 0.97),
                "x",
                color=CURVE,
                markersize=4,
                transform=axes.get_xaxis_transform(),
                label=f"{key} {NOT_FINITE}",
            )
            axes.legend(loc="best", frameon=True, framealpha=0.8)
        for (place,), name in _marks(surface):
            axes.axvline(place, color=style.GREY, linewidth=0.7, linestyle=":")
            if axes is rows[0]:
                words = {"fontsize": style.SMALL, "color": style.GREY}
                above = axes.get_xaxis_transform()
                axes.text(place, 1.01, name, words, transform=above, ha="center", va="bottom")
        axes.set_ylabel(key)
    rows[-1].set_xlabel(surface.header["labels"][0])
    return figure


def _draw_plane(surface: Surface) -> Figure:
    figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
    loss = _finite(surface["loss"])
    norm = _norm(loss)
    contours = figure.add_subplot(1, 2, 1)
    _draw_contours(contours, surface, loss, norm)
    _draw_relief(figure, surface, loss, norm)
    return figure


def _draw_contours(axes: Axes, surface: Surface, loss: Values, norm: Normalize) -> None:
    a, b = surface.axes
    # Seen where no contour covers it: beside points that are not finite.
    axes.patch.set(facecolor="0.93", hatch="////", edgecolor="0.65", linewidth=0)
    drawn = np.ma.masked_invalid(loss)
    levels = _levels(loss, norm)
    if levels is not None:
        filled = axes.contourf(a, b, drawn, levels, norm=norm, cmap=COLOURS)
        axes.contour(a, b, drawn, levels, colors="white", linewidths=0.4, alpha=0.7)
        assert axes.figure
        bar = axes.figure.colorbar(filled, ax=axes, location="top", aspect=40, pad=0.02)
        bar.set_label("loss" + (", logarithmic" if isinstance(norm, LogNorm) else ""))
        ticks = levels[:: LEVELS // 4]
        bar.set_ticks(ticks.tolist(), labels=[style.number(tick) for tick in ticks])
        bar.ax.minorticks_off()
    if np.isnan(loss).any():
        where = np.argwhere(np.isnan(loss))
        axes.plot(a[where[:, 1]], b[where[:, 0]], "x", color=CURVE, markersize=3, label=NOT_FINITE)
    path = surface.header.get("path")
    if path:
        x, y = np.array(path["coordinates"], dtype=np.float64).T
        axes.plot(x, y, color=CURVE, marker=".", markersize=4, linewidth=1.0, label="trajectory")
    for place, name in _marks(surface):
        x, y = place
        axes.plot(x, y, "o", color="white", markeredgecolor=MARK, markersize=4.5)
        axes.annotate(
            name,
            (x, y),
            xytext=(4 if x <= (a[0] + a[-1]) / 2 else -4, 4),
            textcoords="offset points",
            ha="left" if x <= (a[0] + a[-1]) / 2 else "right",
            fontsize=style.SMALL,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.8},
        )
    axes.set(xlim=(a[0], a[-1]), ylim=(b[0], b[-1]))
    axes.set_xlabel(surface.header["labels"][0])
    axes.set_ylabel(surface.header["labels"][1])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", frameon=True, framealpha=0.8)


def _draw_relief(figure: Figure, surface: Surface, loss: Values, norm: Normalize) -> None:
    axes: Any = figure.add_subplot(1, 2, 2, projection="3d", computed_zorder=False)
    a, b = np.meshgrid(*surface.axes)
    height = np.log10(loss) if isinstance(norm, LogNorm) else loss
    axes.plot_surface(
        a,
        b,
        height,
        facecolors=_colours(norm, loss, height),
        rcount=len(surface.axes[1]),
        ccount=len(surface.axes[0]),
        linewidth=0.15,
        edgecolor=(1, 1, 1, 0.35),
        shade=False,
    )
    missing = np.isnan(loss)
    if missing.any() and not missing.all():
        low = np.nanmin(height)
        axes.scatter(a[missing], b[missing], low, marker="x", color=CURVE, s=6, linewidth=0.7)
    axes.set_zlabel("log₁₀ loss" if isinstance(norm, LogNorm) else "loss", labelpad=-4)
    axes.set_xlabel("a", labelpad=-8)
    axes.set_ylabel("b", labelpad=-8)
    axes.tick_params(pad=-3, labelsize=6)
    axes.view_init(elev=32, azim=-60)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.05)


def _colours(norm: Normalize, loss: Values, height: Values) -> Values:
    """Of every quad [B - 1, A - 1, 4], by the mean height of its corners: matplotlib takes one."""
    from matplotlib import colormaps

    rows = height[:-1] + height[1:]
    means = (rows[:, :-1] + rows[:, 1:]) / 4
    means = 10**means if isinstance(norm, LogNorm) else means
    # A quad beside a gap is not drawn: any colour will do.
    return colormaps[COLOURS](norm(np.nan_to_num(means, nan=norm.vmin or 0.0)))


def _finite(values: Values) -> Values:
    """The same with NaN for all that is not finite, which is drawn as a gap."""
    return np.where(np.isfinite(values), values, np.nan)


def _all_finite(values: Values) -> NDArray[np.bool_]:
    """Where the values of all batches are finite, [A, batches] to [A]."""
    return np.logical_and.reduce(np.isfinite(values), axis=1)


def _is_wide(values: Values) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and known.min() > 0 and bool(known.max() / known.min() > WIDE)


def _norm(values: Values) -> Normalize:
    known = values[np.isfinite(values)]
    if not len(known):
        return Normalize(0, 1)
    kind = LogNorm if _is_wide(values) else Normalize
    return kind(known.min(), known.max())


def _levels(values: Values, norm: Normalize) -> Values | None:
    """Contour levels from the smallest to the largest value, or about the only one there is."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    if known.min() == known.max():
        return known[0] + max(abs(known[0]), 1e-9) * np.linspace(-1e-3, 1e-3, LEVELS + 1)
    spaced = np.geomspace if isinstance(norm, LogNorm) else np.linspace
    return spaced(known.min(), known.max(), LEVELS + 1)


def _marks(surface: Surface) -> list[tuple[list[float], str]]:
    """Points to name: coordinates and what lies there."""
    return [(place, name) for place, name in surface.header.get("marks", [])]


# The page


def page(surface: Surface) -> str:
    """A self-contained page: the surface to turn, contours and values under the pointer."""
    figure = _plane_page(surface) if surface.is_plane else _line_page(surface)
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.1, "x": 0},
        autosize=True,
    )
    config = {"displaylogo": False, "responsive": True}
    plot = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        config=config,
        div_id="surface",
        default_height="78vh",
        post_script=NARROW if surface.is_plane else None,
    )
    title, caption = (html.escape(surface.header[key]) for key in ("title", "caption"))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n"
        "body { font: 15px/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 84rem; "
        "padding: 0 1rem; color: #222; }\nh1 { font-size: 1.15rem; }\np { color: #555; }\n"
        f"</style>\n</head>\n<body>\n<h1>{title}</h1>\n{plot}\n<p>{caption}</p>\n</body>\n</html>\n"
    )


def _plane_page(surface: Surface) -> go.Figure:
    loss = _finite(surface["loss"])
    log = isinstance(_norm(loss), LogNorm)
    height = np.log10(loss) if log else loss
    name = "log₁₀ loss" if log else "loss"
    a, b = surface.axes
    shown = np.stack([surface[key] for key in surface.values], axis=-1)
    lines = [f"{key} %{{customdata[{i}]:.4g}}" for i, key in enumerate(surface.values)]
    hover = "<br>".join(["a %{x:.4g}", "b %{y:.4g}", *lines]) + "<extra></extra>"
    figure = make_subplots(
        1, 2, specs=[[{"type": "scene"}, {"type": "xy"}]], column_widths=[0.56, 0.44]
    )
    common = {"x": a, "y": b, "z": height, "customdata": shown, "hovertemplate": hover}
    figure.add_trace(
        go.Surface(**common, colorscale="Viridis", colorbar={"title": {"text": name}}), 1, 1
    )
    figure.add_trace(
        go.Contour(**common, colorscale="Viridis", showscale=False, ncontours=LEVELS), 1, 2
    )
    missing = np.argwhere(np.isnan(loss))
    if len(missing):
        crosses = {
            "mode": "markers",
            "name": NOT_FINITE,
            "hovertemplate": "a %{x:.4g}<br>b %{y:.4g}",
        }
        x, y = a[missing[:, 1]], b[missing[:, 0]]
        figure.add_trace(
            go.Scatter(x=x, y=y, **crosses, marker={"symbol": "x", "color": CURVE}), 1, 2
        )
        if len(missing) < loss.size:
            floor = np.full(len(missing), np.nanmin(height))
            cross = {"symbol": "x", "color": CURVE, "size": 2}
            marked = go.Scatter3d(x=x, y=y, z=floor, **crosses, marker=cross, showlegend=False)
            figure.add_trace(marked, 1, 1)
    path = surface.header.get("path")
    if path:
        x, y = np.array(path["coordinates"], dtype=np.float64).T
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                customdata=path["steps"],
                mode="lines+markers",
                name="trajectory",
                line={"color": CURVE},
                hovertemplate="step %{customdata}<extra></extra>",
            ),
            1,
            2,
        )
    for place, label in _marks(surface):
        x, y = place
        left = x <= (a[0] + a[-1]) / 2
        mark = {"color": "white", "size": 9, "line": {"color": MARK, "width": 1.5}}
        point = go.Scatter(x=[x], y=[y], mode="markers", marker=mark, showlegend=False)
        point.hovertemplate = f"{html.escape(label)}<extra></extra>"
        figure.add_trace(point, 1, 2)
        figure.add_annotation(
            x=x,
            y=y,
            text=html.escape(label),
            showarrow=False,
            xanchor="left" if left else "right",
            yanchor="bottom",
            xshift=6 if left else -6,
            yshift=4,
            bgcolor="rgba(255,255,255,0.75)",
            row=1,
            col=2,
        )
    first, second = surface.header["labels"]
    figure.update_xaxes(title=first, range=[a[0], a[-1]])
    figure.update_yaxes(title=second, range=[b[0], b[-1]])
    figure.update_scenes(
        xaxis_title="a",
        yaxis_title="b",
        zaxis_title=name,
        camera_eye={"x": -1.5, "y": -1.75, "z": 1.1},
    )
    return figure


def _line_page(surface: Surface) -> go.Figure:
    (a,) = surface.axes
    keys = list(surface.values)
    figure = make_subplots(len(keys), 1, shared_xaxes=True, vertical_spacing=0.06)
    for row, key in enumerate(keys, start=1):
        values = surface.values[key]
        finite = _all_finite(values)
        within = np.where(finite[:, None], values, np.nan)
        for i in range(values.shape[1]):
            figure.add_trace(
                go.Scatter(
                    x=a,
                    y=within[:, i],
                    mode="lines",
                    line={"color": LOSS, "width": 0.8},
                    opacity=0.35,
                    name="one batch",
                    showlegend=row == 1 and i == 0,
                    hoverinfo="skip",
                ),
                row,
                1,
            )
        figure.add_trace(
            go.Scatter(
                x=a,
                y=within.mean(1),
                mode="lines+markers",
                line={"color": LOSS},
                name="mean",
                showlegend=row == 1,
                hovertemplate=f"a %{{x:.4g}}<br>{key} %{{y:.4g}}<extra></extra>",
            ),
            row,
            1,
        )
        if key == "loss" and _is_wide(within):
            figure.update_yaxes(type="log", row=row, col=1)
        if not finite.all():
            # Lines at their places: a marker would need a height.
            for place in a[~finite]:
                figure.add_vline(
                    place, row=row, col=1, line={"color": CURVE, "dash": "dot", "width": 1}
                )
            label = {"mode": "lines", "name": f"{key} {NOT_FINITE}"}
            line = {"color": CURVE, "dash": "dot"}
            figure.add_trace(go.Scatter(x=[None], y=[None], line=line, **label), row, 1)
        figure.update_yaxes(title=key, row=row, col=1)
    for (place,), label in _marks(surface):
        figure.add_vline(place, line={"color": "#888", "dash": "dot"})
        figure.add_annotation(
            x=place,
            y=1,
            yref="y domain",
            text=html.escape(label),
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
        )
    figure.update_xaxes(title=surface.header["labels"][0], row=len(keys), col=1)
    return figure
