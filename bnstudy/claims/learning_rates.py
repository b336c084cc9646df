"""What is said of learning rates and initializations: BatchNorm widens what can be chosen."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import accuracy, best, matched
from bnstudy.claims.rules import Rule, at_least, more_than
from bnstudy.results import Run, trains

GRID = ("optimizer.lr", "init")


def share_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """How many points more of the grid train with BatchNorm."""
    shares = [percent_that_train(runs) for runs in matched(standard, batch, by=GRID)]
    return shares[1] - shares[0]


def percent_that_train(runs: Sequence[Run]) -> float:
    """Percent of the runs that train; NaN of none."""
    return 100 * sum(map(trains, runs)) / len(runs) if runs else math.nan


def largest_lr_ratio(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """The largest learning rate that trains, BatchNorm / standard, geometric mean over inits.

    An init that trains at no learning rate counts with the smallest of the grid, so the ratio errs
    towards 1, as it does where the largest of the grid still trains. NaN if no run trains.
    """
    blocks = matched(standard, batch, by=GRID)
    runs = [run for block in blocks for run in block]
    if not any(map(trains, runs)):
        return math.nan
    logs = []
    for init in dict.fromkeys(run.option("init") for run in runs):
        of_init = [[run for run in block if run.option("init") == init] for block in blocks]
        largest = [largest_lr(own) for own in of_init]
        logs.append(math.log(largest[1] / largest[0]))
    return math.exp(np.mean(logs))


def largest_lr(runs: Sequence[Run]) -> float:
    """The largest learning rate that trains, the smallest there is if none does."""
    return max((run.lr for run in runs if trains(run)), default=min(run.lr for run in runs))


def init_spread_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """By how many points accuracy depends less on the init with BatchNorm."""
    spreads = [init_spread(runs) for runs in matched(standard, batch, by=GRID)]
    return spreads[0] - spreads[1]


def init_spread(runs: Sequence[Run]) -> float:
    """The largest less the smallest accuracy over inits at the learning rate with the best mean.

    Of the learning rates that all inits have; NaN if there is none, or only one init.
    """
    inits = {run.option("init") for run in runs}
    by_lr: dict[float, list[float]] = {}
    for run in runs:
        by_lr.setdefault(run.lr, []).append(accuracy(run))
    complete = [own for own in by_lr.values() if len(own) == len(inits)]
    if len(inits) < 2 or not complete:
        return math.nan
    chosen = max(complete, key=sum)
    return max(chosen) - min(chosen)


def deviation_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """By how many points the standard deviation over the grid is smaller with BatchNorm."""
    blocks = matched(standard, batch, by=GRID)
    if not blocks[0]:
        return math.nan
    deviations = [np.std([accuracy(run) for run in runs]) for runs in blocks]
    return float(deviations[0] - deviations[1])


def best_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """Points that the best of the grid is ahead with BatchNorm."""
    bests = [best(runs, accuracy) for runs in matched(standard, batch, by=GRID)]
    return bests[1] - bests[0]


TOPIC = "Learning rates and initializations"
POINTS = "a difference that counts: 5 points"
CLAIMS = tuple(
    claim
    for network, experiment in (("VGG", "lr_by_init_vgg"), ("ResNet", "lr_by_init_resnet"))
    for arms in (
        (
            Arm(f"the standard {network}", experiment, "none", None),
            Arm(f"{network} with BatchNorm", experiment, "batch", None),
        ),
    )
    for claim in (
        Claim(
            topic=TOPIC,
            name=f"more_cells_train_{network.lower()}",
            title=f"{network} trains from more learning rates and inits with BatchNorm",
            says="One can “use much higher learning rates and be less careful about "
            "initialization”.",
            source="Ioffe & Szegedy 2015, abstract; Santurkar et al. 2018, section 3",
            arms=arms,
            quantity="share of the grid of learning rates and inits that trains (5 points above "
            "chance), BatchNorm − standard",
            measure=share_difference,
            rule=Rule(at_least(10), more_than(0), why="a tenth of the grid", unit=" points"),
            also=("init",),
        ),
        Claim(
            topic=TOPIC,
            name=f"largest_lr_{network.lower()}",
            title=f"{network} trains at much larger learning rates with BatchNorm",
            says="“Batch Normalization allows us to use much higher learning rates”.",
            source="Ioffe & Szegedy 2015, abstract and section 3.3",
            arms=arms,
            quantity="largest learning rate that trains, geometric mean over inits, BatchNorm / "
            "standard (an init that never trains counts with the smallest)",
            measure=largest_lr_ratio,
            rule=Rule(at_least(3), more_than(1), why="one step of the grid", unit="×"),
            also=("init",),
        ),
        Claim(
            topic=TOPIC,
            name=f"less_of_init_{network.lower()}",
            title=f"The init matters less to {network} with BatchNorm",
            says="With BatchNorm we can “be less careful about initialization”.",
            source="Ioffe & Szegedy 2015, abstract",
            arms=arms,
            quantity="final test accuracy, best − worst init at the arm's best learning rate, "
            "standard − BatchNorm",
            measure=init_spread_difference,
            rule=Rule(at_least(5), more_than(0), why=POINTS, unit=" points"),
            also=("init",),
        ),
        Claim(
            topic=TOPIC,
            name=f"robust_to_choices_{network.lower()}",
            title=f"{network} is more robust to learning rate and init with BatchNorm",
            says="“Robustness to different settings of hyperparameters such as learning rate and "
            "initialization scheme”.",
            source="Santurkar et al. 2018, section 3; no experiment there",
            arms=arms,
            quantity="deviation of final test accuracy over the grid, standard − BatchNorm",
            measure=deviation_difference,
            rule=Rule(at_least(5), more_than(0), why=POINTS, unit=" points"),
            also=("init",),
        ),
        Claim(
            topic=TOPIC,
            name=f"best_of_grid_{network.lower()}",
            title=f"After a search {network} is still better with BatchNorm",
            says="BatchNorm is no mere substitute for a search over learning rates and inits.",
            source="said of both; not in Santurkar et al. 2018",
            arms=arms,
            quantity="best final test accuracy of the grid, BatchNorm − standard",
            measure=best_difference,
            rule=Rule(at_least(5), more_than(0), why=POINTS, unit=" points"),
            also=("init",),
        ),
    )
)
