"""What is said of learning rates and initializations: BatchNorm widens what can be chosen."""

import math
from collections.abc import Sequence

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import TOLERANCE, share_difference
from bnstudy.claims.rules import Range, greater
from bnstudy.measures.grids import best, matched
from bnstudy.measures.series import geometric_mean
from bnstudy.measures.train import final_percent, training_accuracy, trains
from bnstudy.results import Run

GRID = ("optimizer.lr", "init")
NEAR = 5  # points of test accuracy


def largest_lr_ratio(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """The largest learning rate that trains, BatchNorm / standard [1]: geometric mean over inits.

    Of the inits from which both networks train at some learning rate; NaN if there is none.
    """
    blocks = matched(standard, batch, by=GRID)
    ratios = []
    for init in dict.fromkeys(run.option("init") for run in blocks[0]):
        of_init = [[run for run in block if run.option("init") == init] for block in blocks]
        largest = [max((run.lr for run in own if trains(run)), default=0.0) for own in of_init]
        if all(largest):
            ratios.append(largest[1] / largest[0])
    return geometric_mean(ratios)


def inits_in_words(standard: Sequence[Run], batch: Sequence[Run]) -> str:
    """From which inits only one of the networks trains, as a note."""
    blocks = matched(standard, batch, by=GRID)
    from_inits = [{run.option("init") for run in block if trains(run)} for block in blocks]
    alone = [len(from_inits[i] - from_inits[1 - i]) for i in (0, 1)]
    return (
        f"Not compared: {alone[1]} inits from which only BatchNorm trains, {alone[0]} from which "
        "only the standard network does."
    )


def init_spread_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """By how much less the test accuracy depends on the init with BatchNorm [points]."""
    spreads = [init_spread(runs) for runs in matched(standard, batch, by=GRID)]
    return spreads[0] - spreads[1]


def init_spread(runs: Sequence[Run]) -> float:
    """The largest less the smallest test accuracy over inits at the best learning rate [points].

    The best has the highest mean training accuracy, of the learning rates that all inits have; NaN
    if there is none, or only one init.
    """
    inits = {run.option("init") for run in runs}
    by_lr: dict[float, list[Run]] = {}
    for run in runs:
        by_lr.setdefault(run.lr, []).append(run)
    complete = [own for own in by_lr.values() if len(own) == len(inits)]
    if len(inits) < 2 or not complete:
        return math.nan
    chosen = max(complete, key=lambda own: sum(training_accuracy(run, share=0.1) for run in own))
    accuracies = [final_percent(run) for run in chosen]
    return max(accuracies) - min(accuracies)


def percent_near_best(runs: Sequence[Run]) -> float:
    """The runs within 5 points of test accuracy of the best of them [percent]; NaN of none."""
    top = best(runs, final_percent)
    near = sum(final_percent(run) >= top - NEAR for run in runs)
    return 100 * near / len(runs) if runs else math.nan


def near_best_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """How much more of the grid is near its own best with BatchNorm [points]."""
    shares = [percent_near_best(runs) for runs in matched(standard, batch, by=GRID)]
    return shares[1] - shares[0]


def accuracy_gain(standard: Run, batch: Run) -> float:
    """How far the test accuracy is ahead with BatchNorm [points]."""
    return final_percent(batch) - final_percent(standard)


TOPIC = "Learning rates and initializations"
LONG_ENOUGH = Needs(steps=4000)
RESNET = (
    Arm("the standard ResNet", "lr_by_init_resnet", "none", None),
    Arm("ResNet with BatchNorm", "lr_by_init_resnet", "batch", None),
)
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="tolerance_resnet",
        title="ResNet trains from more learning rates and inits with BatchNorm",
        says="One can “use much higher learning rates and be less careful about initialization”.",
        source="Ioffe & Szegedy 2015, abstract; Santurkar et al. 2018, section 3",
        arms=RESNET,
        quantity="share of the grid of learning rates and inits that ends 5 points above chance, "
        "BatchNorm − standard",
        measure=share_difference,
        rule=greater(0, unit=" points", zone=Range(-5, 5)),
        also=("init",),
        needs=LONG_ENOUGH,
    ),
    *(
        claim
        for network, arms in (("VGG", TOLERANCE), ("ResNet", RESNET))
        for claim in (
            Claim(
                topic=TOPIC,
                name=f"largest_lr_{network.lower()}",
                title=f"{network} trains at larger learning rates with BatchNorm",
                says="“Batch Normalization allows us to use much higher learning rates”.",
                source="Ioffe & Szegedy 2015, abstract and section 3.3",
                arms=arms,
                quantity="largest learning rate that trains, geometric mean over the inits from "
                "which both networks train, BatchNorm / standard",
                measure=largest_lr_ratio,
                rule=greater(),
                detail=inits_in_words,
                also=("init",),
                needs=LONG_ENOUGH,
            ),
            Claim(
                topic=TOPIC,
                name=f"less_of_init_{network.lower()}",
                title=f"The init matters less to {network} with BatchNorm",
                says="With BatchNorm we can “be less careful about initialization”.",
                source="Ioffe & Szegedy 2015, abstract",
                arms=arms,
                quantity="final test accuracy, best − worst init at the learning rate with the "
                "highest mean training accuracy, standard − BatchNorm",
                measure=init_spread_difference,
                rule=greater(0, unit=" points"),
                also=("init",),
                needs=LONG_ENOUGH,
            ),
            Claim(
                topic=TOPIC,
                name=f"robust_to_choices_{network.lower()}",
                title=f"{network} is more robust to learning rate and init with BatchNorm",
                says="“Robustness to different settings of hyperparameters such as learning rate "
                "and initialization scheme”.",
                source="Santurkar et al. 2018, section 3; no experiment there",
                arms=arms,
                quantity="share of the grid within 5 points of test accuracy of the arm's best, "
                "BatchNorm − standard",
                measure=near_best_difference,
                rule=greater(0, unit=" points", zone=Range(-5, 5)),
                also=("init",),
                needs=LONG_ENOUGH,
            ),
            Claim(
                topic=TOPIC,
                name=f"best_of_grid_{network.lower()}",
                title=f"After a search {network} is still better with BatchNorm",
                says="BatchNorm is no mere substitute for a search over learning rates and inits.",
                source="said of both; not in Santurkar et al. 2018",
                arms=arms,
                quantity="final test accuracy at the learning rate and init with the best mean "
                "over the other seeds, BatchNorm − standard",
                measure=accuracy_gain,
                rule=greater(0, unit=" points"),
                also=("init",),
                pick=final_percent,
                needs=LONG_ENOUGH,
            ),
        )
    ),
)
