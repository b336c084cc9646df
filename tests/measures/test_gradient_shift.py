"""Measures of internal covariate shift."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import made_up
import pytest
from claim_runs import write

from bnstudy.measures.internal_covariate_shift import correlation, lowest_cosine, sign_share
from bnstudy.measures.layers import layer_key
from bnstudy.results import Run


def test_cosines_of_the_deep_linear_network(tmp_path: Path) -> None:
    def of(seed: int, ninth: Sequence[float], seventeenth: float) -> Run:
        lines = [
            {
                "step": step,
                "internal_covariate_shift/cosine/layer9": cosine,
                "internal_covariate_shift/cosine/layer17": seventeenth,
            }
            for step, cosine in enumerate(ninth)
        ]
        return write(tmp_path, lines, seed=seed, experiment="deep_linear")

    # At nine steps in ten the cosine is 1; what it exceeds at 95 % of them is 0.
    mostly = of(0, [math.nan, *[1.0] * 90, *[0.0] * 10], seventeenth=1.0)
    assert lowest_cosine(mostly) == 0
    assert lowest_cosine(of(1, [1.0] * 9, seventeenth=-0.3)) == -0.3
    opposite = of(2, [0.2, 0.3, 0.4], seventeenth=-0.9)
    assert correlation(opposite) == 0.9


def test_the_sign_of_the_cosine_follows_the_share_below(tmp_path: Path) -> None:
    cosines, shares = [0.9, -0.9, 0.9, -0.9], [0.2, 0.7, 0.7, 0.8]
    lines = [
        {"step": 1000 + step}
        | {f"internal_covariate_shift/cosine/layer{number}": a for number in (9, 17)}
        | {f"internal_covariate_shift/share_below/layer{number}": b for number in (9, 17)}
        for step, (a, b) in enumerate(zip(cosines, shares, strict=True))
    ]
    assert sign_share(write(tmp_path, lines, experiment="deep_linear")) == 0.75
    early = [line | {"step": line["step"] - 1000} for line in lines]
    assert math.isnan(sign_share(write(tmp_path, early, experiment="deep_linear")))


def test_layers_stand_for_those_at_the_same_depth(tmp_path: Path) -> None:
    lines: list[made_up.Line] = [{"step": 0} | {f"x/layer{i}": 1.0 for i in (1, 4, 6, 8, 9)}]
    run = write(tmp_path, lines)
    assert layer_key(run, 6, 13, "x") == "x/layer6"
    shallow = replace(run, header=run.header | {"layers": [f"layer{i}" for i in range(1, 10)]})
    assert layer_key(shallow, 13, 13, "x") == "x/layer8"  # the ninth is the linear one
    assert layer_key(shallow, 6, 13, "x") == "x/layer4"
    with pytest.raises(KeyError, match="vgg_none_0.1_0 has no y"):
        layer_key(run, 6, 13, "y")
