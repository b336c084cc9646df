"""What is said of early sharpness: BatchNorm, inits and a warm-up help by lowering it."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import Range, at_least, greater, less
from bnstudy.measures.grids import by_option, largest_lr, matched
from bnstudy.measures.series import at_first_step, geometric_mean, late, median, ratio, spearman
from bnstudy.measures.sharpness import sharpness
from bnstudy.measures.stability import at_edge
from bnstudy.measures.train import trains
from bnstudy.results import Run

SCHEDULE = "schedule"
CELL = ("init", "optimizer.lr")


def first_sharpness(runs: Sequence[Run]) -> float:
    """Sharpness at step 0: the geometric mean over runs."""
    return geometric_mean([at_first_step(sharpness(run)) for run in runs])


def first_sharpness_ratio(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """Sharpness at step 0, standard / BatchNorm [1]: geometric mean over inits."""
    return ratio(*(first_sharpness(runs) for runs in matched(standard, batch, by=CELL)))


def cells_by_norm_and_init(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """The runs by norm and init."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.norm, run.option("init")), []).append(run)
    return found


def lr_follows_sharpness(*blocks: Sequence[Run]) -> float:
    """Spearman's correlation over norm and init of the largest lr that trains and 2 / sharpness.

    Sharpness is that at step 0. NaN for fewer than four norms and inits.
    """
    cells = cells_by_norm_and_init([run for block in blocks for run in block]).values()
    points = np.array([(largest_lr(own, trains), 2 / first_sharpness(own)) for own in cells])
    return spearman(*points.T) if len(points) >= 4 else math.nan


def largest_lr_ratio_over_inits(under: Sequence[Run], over: Sequence[Run]) -> float:
    """The largest learning rate that trains, second / first [1]: geometric mean over inits.

    Where none trains it counts as half of the smallest that was tried.
    """
    ratios = []
    blocks = [by_option(block, "init") for block in matched(under, over, by=CELL)]
    for init in blocks[0]:
        lrs = [largest_lr(block[init], trains) for block in blocks]
        floor = min(run.lr for run in blocks[0][init]) / 2
        ratios.append(max(lrs[1], floor) / max(lrs[0], floor))
    return geometric_mean(ratios)


def late_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability after the first 40 steps, the median; NaN of none."""
    return median(late(at_edge(run, sharpness(run)), 41))


def lower_after_warmup(constant: Run, warmed: Run) -> float:
    """Sharpness over its edge after the warm-up, with it / without it [1].

    0 if the run without it diverged alone, infinite if the other did, NaN if both.
    """
    diverged = [run.outcome == "diverged" for run in (constant, warmed)]
    if any(diverged):
        return math.nan if all(diverged) else (0.0 if diverged[0] else math.inf)
    return ratio(late_at_edge(warmed), late_at_edge(constant))


def early_arm(norm: str, schedule: str) -> Arm:
    """A network with a schedule, from every init at every learning rate."""
    name = {"none": "the standard network", "batch": "BatchNorm"}[norm]
    more = ", warm-up" if schedule == "warmup" else ""
    return Arm(f"{name}{more}", "early_sharpness", norm, None, ((SCHEDULE, schedule),))


STANDARD, BATCH = early_arm("none", "constant"), early_arm("batch", "constant")
WARMED = early_arm("none", "warmup")
ALSO = ("init", SCHEDULE)
TRAIN = "largest learning rate that trains (5 points above chance after 200 steps)"
OVER_INITS = "geometric mean over inits (where none trains half of the smallest)"
TOPIC = "Early sharpness"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="batch_flatter_at_first",
        title="At step 0 a network with BatchNorm is less sharp",
        says="BatchNorm, warm-up and init lower the sharpness of the first steps.",
        source="Gilmer et al. 2022, abstract; by 128 samples here",
        arms=(STANDARD, BATCH),
        quantity="largest eigenvalue of the Hessian at step 0, geometric mean over inits, "
        "standard / BatchNorm",
        measure=first_sharpness_ratio,
        rule=greater(),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="lr_follows_first_sharpness",
        title="The flatter a network is at step 0, the larger the learning rates that train it",
        says="Training fails where the sharpness of the first steps is above 2/lr.",
        source="Gilmer et al. 2022, section 3",
        arms=(STANDARD, BATCH),
        quantity=f"rank correlation over norms and inits of the {TRAIN} and 2 / sharpness at step "
        "0",
        measure=lr_follows_sharpness,
        rule=greater(0, unit="", zone=Range(-0.2, 0.2)),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="warmup_raises_lr",
        title="Without BatchNorm a warm-up raises the largest learning rate that trains",
        says="A warm-up makes training stable as much as BatchNorm does.",
        source="Gilmer et al. 2022, abstract",
        arms=(STANDARD, WARMED),
        quantity=f"{TRAIN}, {OVER_INITS}, warm-up of 40 steps / none",
        measure=largest_lr_ratio_over_inits,
        rule=greater(),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="warmup_like_batch",
        title="A warm-up raises it as much as BatchNorm does",
        says="A warm-up makes training stable as much as BatchNorm does.",
        source="Gilmer et al. 2022, abstract",
        arms=(BATCH, WARMED),
        quantity=f"{TRAIN}, {OVER_INITS}, standard with a warm-up of 40 steps / BatchNorm without",
        measure=largest_lr_ratio_over_inits,
        rule=at_least(1 / 1.25, unit="×", why="within a quarter, or more"),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="warmup_flattens",
        title="After a warm-up the network is farther below its edge of stability",
        says="A warm-up moves the network to flatter regions before the learning rate is large.",
        source="Gilmer et al. 2022, section 4",
        arms=tuple(
            arm._replace(lr=0.1, options=(*arm.options, ("init", "kaiming")))
            for arm in (STANDARD, WARMED)
        ),
        quantity="sharpness / (2/lr), median over the probed steps after the warm-up, Kaiming's "
        "init, lr 0.1, warm-up / none",
        measure=lower_after_warmup,
        rule=less(),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
)
