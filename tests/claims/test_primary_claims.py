"""The primary claims."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from claim_runs import cell
from conftest import ROOT
from descents import BY_NAME, descent, learning

from bnstudy import claims
from bnstudy.claims import primary
from bnstudy.results import Run


def test_each_arm_has_its_best_settings_and_no_seed_picks_its_own() -> None:
    runs = []
    for norm, seed, (lr, last) in product(
        ("none", "batch"), range(10, 15), ((0.01, 0.55), (0.1, 0.95), (1, 0.3))
    ):
        middle = 0.9 * last if norm == "batch" else 0.4 * last
        of = {"experiment": "tolerance_vgg", "lr": lr, "seed": seed}
        runs.append(learning([0.1, middle, last], norm, every=2000, **of))
    result = claims.judge(BY_NAME["faster_at_best"], {"tolerance_vgg": runs})
    assert result.verdict == claims.SUPPORTED
    assert "none at lr 0.1, kaiming; batch at lr 0.1, kaiming" in result.notes[0]


def test_noise_alone_says_nothing_if_the_standard_network_does_not_train() -> None:
    def of(standard: float) -> claims.Result:
        arms = (("vgg", "none", standard), ("vgg_noise", "noise", 0.11))
        runs: dict[str, list[Run]] = {}
        for (experiment, norm, accuracy), seed in product(arms, range(10, 15)):
            run = cell(norm, seed=seed, accuracy=accuracy, experiment=experiment)
            run.config["steps"] = 1500
            runs.setdefault(experiment, []).append(run)
        return claims.judge(BY_NAME["noise_alone"], runs)

    assert of(0.5).verdict == claims.SUPPORTED
    assert of(0.12).verdict == claims.NOT_MEASURABLE
    assert "The control" in of(0.12).notes[0]


def shifts(l2: float, norm: float, cosine: float, of: str = "batch", steps: int = 30) -> Run:
    """A run with the same shift at all steps; a third of the whole."""
    records: dict[str, list[Any]] = {}
    for name in ("layer2", "layer3"):
        records[f"internal_covariate_shift/l2/{name}"] = [l2] * steps
        records[f"internal_covariate_shift/norm/{name}"] = [norm] * steps
        records[f"internal_covariate_shift/cosine/{name}"] = [cosine] * steps
    run = cell(of, records=records)
    run.config["steps"] = 3 * 30
    return run


def test_the_shift_is_relative_to_the_gradient() -> None:
    standard, batch = shifts(1.0, 2.0, 0.9, "none"), shifts(30.0, 60.0, 0.5)
    assert primary.relative_shift_ratio(standard, batch) == pytest.approx(1)
    assert primary.relative_shift_ratio(standard, shifts(30.0, 20.0, 0.5)) == pytest.approx(3)
    assert primary.shift_cosine_difference(standard, batch) == pytest.approx(-0.4)
    assert primary.first_shift_ratio(standard, batch) == pytest.approx(1)


def test_the_shift_of_a_run_that_ended_at_once_is_not_known() -> None:
    standard = replace(shifts(1.0, 2.0, 0.9, "none", steps=4), outcome="diverged")
    batch = shifts(1.0, 2.0, 0.5)
    assert math.isnan(primary.shift_cosine_difference(standard, batch))
    # Exploding is the opposite of having little shift.
    assert primary.relative_shift_ratio(standard, batch) == 0


def test_step_0_is_compared_at_the_step_size_lr() -> None:
    standard, batch = descent([2.3], [1.0]), descent([2.3], [3.0], "batch")
    assert primary.first_change_ratio(standard, batch) == pytest.approx(3)
    assert primary.first_beta_ratio(standard, batch) == pytest.approx(3)
    for run in (standard, batch):
        for key, (_, values) in list(run.records.items()):
            run.records[key] = ([1], values)
    assert math.isnan(primary.first_beta_ratio(standard, batch))


@pytest.mark.parametrize(("width", "verdict"), [(1.0, "supported"), (0.25, "not measurable")])
def test_step_0_is_that_of_the_full_width_network(width: float, verdict: str) -> None:
    runs = []
    for seed, (norm, change) in product(range(10, 15), (("none", 1.0), ("batch", 3.0))):
        run = descent([2.3], [change], norm, seed)
        run.config["model"]["width"] = width
        runs.append(run)
    assert claims.judge(BY_NAME["first_change"], {"step0": runs}).verdict == verdict


def test_what_counts_as_training_is_a_threshold_without_a_zone() -> None:
    for name in ("high_lr_batch", "noise_alone", "high_lr_standard"):
        assert BY_NAME[name].rule.zone is None
    assert BY_NAME["noise_alone"].rule.verdict(0.5, 0.0, 4.9, 5) == claims.SUPPORTED
    assert BY_NAME["noise_alone"].rule.verdict(9.0, 5.1, 20.0, 5) == claims.CONTRADICTED
    assert BY_NAME["high_lr_batch"].rule.verdict(9.0, 4.9, 20.0, 5) == claims.SUGGESTED


def test_the_primary_claims_are_judged_on_fresh_seeds_and_say_how_long_they_need() -> None:
    own = [claim for claim in claims.CLAIMS if claim.primary]
    assert own == list(primary.CLAIMS)
    numbers = "1 2 3 4 4b 5a 5b 6a 6b 6c 7a 7b 7c 8 9a 9b 10 11"
    assert " ".join(claim.title.split(".")[0] for claim in own) == numbers
    assert {claim.seeds_from for claim in own} == {10}
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    for claim in own:
        number, title = claim.title.split(". ")
        assert f"| {number} | {title} |" in page, f"docs/rules.md lacks claim {number}"
    for claim in own:
        assert str(claim.needs) or claim.experiments == ("step0",), claim.name
