"""How figures look, and the files that they become."""

import numpy as np
import pytest
from drawing import FIGURES, Runs, runs_of
from matplotlib.colors import to_rgb

from bnstudy.figures import (
    style,
)


def lightness(colour: str) -> float:
    """CIE L* of a colour, 0 to 100: what is left of it in grey."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize(
    "together",
    [
        ("none", "batch", "noisy_batch", "noise"),
        ("none", "batch", "l1", "l2", "linf"),
        ("none", "batch", "batch_no_affine"),
    ],
)
def test_arms_that_meet_in_a_figure_differ_in_grey(together: tuple[str, ...]) -> None:
    shades = sorted(lightness(style.LOOKS[norm].colour) for norm in together)
    assert min(np.diff(shades)) > 9
    assert len({style.LOOKS[norm].marker for norm in together}) == len(together)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-6, "1e-6"), (0.1, "0.1"), (2e6, "2e6"), (31.6227, "31.6"), (1e12, "1e12")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert style.number(value) == text


def test_a_figure_is_laid_out_once_for_all_its_files(
    monkeypatch: pytest.MonkeyPatch, demo: Runs
) -> None:
    figure = FIGURES["figure5b"].draw(runs_of(FIGURES["figure5b"], demo))
    layouts = []
    engine = figure.get_layout_engine()
    execute = type(engine).execute
    monkeypatch.setattr(
        type(engine), "execute", lambda self, fig: (layouts.append(fig), execute(self, fig))
    )
    contents = [style.encode(figure, kind) for kind in ("png", "pdf", "svg", "png")]
    assert len(layouts) == 1
    assert contents[0] == contents[3]


def test_an_unknown_norm_has_a_name_and_a_colour_that_stay() -> None:
    mine, other = style.arm("mine"), style.arm("another_norm")
    assert (mine.name, mine.short, mine.paper) == ("mine", "mine", "")
    assert style.arm("mine") == mine
    assert mine.colour in style.RESERVE
    assert mine.marker not in {look.marker for look in style.LOOKS.values()}
    assert mine != other
    assert style.arm("batch") is style.LOOKS["batch"]
