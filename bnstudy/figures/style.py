"""How figures look: names and colours of arms, fonts and sizes, and files that reproduce."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

WIDTH = 7.0  # inches: two columns of a journal
SMALL = 7.5  # points: the smallest text
DPI = 200  # dots per inch of a PNG
GREY = "0.35"  # what is not data
Colour = tuple[float, float, float]
PAPER_LINE: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 1.5))}


@dataclass(frozen=True)
class Look:
    """The look of an arm, drawn alike in every figure.

    `short` names it beside a point. `paper` is its name in paper_curves.json, "" if the paper has
    no curve of it.
    """

    name: str
    colour: str
    marker: str
    short: str
    paper: str = ""

    @property
    def light(self) -> Colour:
        """A tint, to fill areas with."""
        return self.tint(0.55)

    def tint(self, share: float) -> Colour:
        """The colour with this share of white in it, from 0 to 1."""
        return _mix(self.colour, "white", share)

    @property
    def dark(self) -> Colour:
        """A shade, for the paper's curve on top of ours."""
        return _mix(self.colour, "black", 0.45)


def _mix(colour: str, other: str, share: float) -> Colour:
    mixed = [
        (1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True)
    ]
    return mixed[0], mixed[1], mixed[2]


# By the option of the norm group. Okabe & Ito's and Tol's colours and some darker ones: told apart
# by the colour blind too, and in grey, because arms that meet in a figure differ in lightness L* by
# 10. Where ten meet none can do that: there every arm is named in the picture.
LOOKS = {
    "none": Look("standard", "#E69F00", "o", "none", "standard"),
    "batch": Look("BatchNorm", "#0068A5", "s", "BN", "batchnorm"),
    "noisy_batch": Look("noisy BatchNorm", "#009E73", "^", "noisy BN", "noisy_batchnorm"),
    "noise": Look("noise without norm", "#661100", "v", "noise"),
    "l1": Look("L1 norm", "#CC79A7", "^", "L1", "l1"),
    "l2": Look("L2 norm", "#7A1F4F", "D", "L2", "l2"),
    "linf": Look("L∞ norm", "#111111", "v", "L∞", "linf"),
    "layer": Look("LayerNorm", "#117733", "P", "LN"),
    "group": Look("GroupNorm", "#44AA99", "p", "GN"),
    "instance": Look("InstanceNorm", "#88CCEE", "*", "IN"),
    "weight": Look("weight norm", "#D55E00", ">", "WN"),
    "weight_standardized": Look("weight standardization", "#999933", "<", "WS"),
    "batch_no_affine": Look("BatchNorm without γ and β", "#332288", "d", "BN−"),
}
# For norms that are not in LOOKS.
RESERVE = ("#AA4499", "#5D8A00", "#8B4513", "#4B4B9F", "#008B8B", "#B8860B", "#B22222")
MARKERS = ("h", "X", "8", "H", "p")


def arm(norm: str) -> Look:
    """The look of a norm: that in LOOKS, or for another one a colour and a marker of the reserve.

    They follow from the norm's name, so that it looks alike in every figure and on every machine.
    """
    if norm in LOOKS:
        return LOOKS[norm]
    number = zlib.crc32(norm.encode())
    return Look(norm, RESERVE[number % len(RESERVE)], MARKERS[number % len(MARKERS)], norm[:8])


RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "ps.fonttype": 42,
    "svg.hashsalt": "bnstudy",  # or every SVG has other ids
}


@contextmanager
def context() -> Iterator[None]:
    """matplotlib's settings while a figure is drawn or saved; outside nothing changes.

    They are its defaults and ours: neither a matplotlibrc nor a notebook changes a picture.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def number(value: float) -> str:
    """A number for a label: 1e-6 and not 1e-06."""
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def lay_out(figure: Figure) -> None:
    """Lay a figure out for its files, once: all of them and the page have the same drawing."""
    engine = figure.get_layout_engine()
    if engine is None or isinstance(engine, PlaceHolderLayoutEngine):
        return
    with context():
        figure.dpi = DPI
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def encode(figure: Figure, kind: str) -> bytes:
    """A figure as a file of a kind, png, pdf or svg; the same runs give the same bytes."""
    lay_out(figure)
    # Neither the date nor the version of matplotlib that each would name.
    dated = {"png": ("Software",), "pdf": ("CreationDate", "Producer", "Creator")}
    metadata = dict.fromkeys(dated.get(kind, ("Date", "Creator")))
    content = io.BytesIO()
    with context():
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, PDF or SVG, by the ending of `path`."""
    path.write_bytes(encode(figure, path.suffix.removeprefix(".")))
