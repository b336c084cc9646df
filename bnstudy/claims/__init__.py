"""What is claimed of batch normalization, each claim as a reduction over runs with a verdict.

A new claim is one more `Claim` in CLAIMS of its topic, a module in this folder, beside the function
that measures it; a new topic is a new file. Nothing else has to know of it. Such a function reduces
the runs of one seed, one run or one grid of runs of every arm that is compared, to one number, so
arms are compared seed by seed.

The value of a claim is the median over seeds. Its interval is a 95 % bootstrap interval over seeds:
percentiles of the value over resamples of the seeds, all arms of a seed drawn together. With up to
five seeds that is the range from the smallest to the largest. It contains the true median with a
probability of only 50 % for two seeds, 75 % for three and 94 % for five.

Every claim has its rule beside it, in two ranges that were fixed before these runs were looked at:
what is claimed, and the weaker statement that its direction is right. Ours are not quite the
networks, data and lengths of the paper, so where the paper gives the size of an effect half of it
is enough (of a ratio its square root). "Comparable", "similar" and "marginal" mean within a
quarter, and, weaker, within a factor of two. A number of the paper that does not meet the rule is
marked.

"The paper" is Santurkar et al. 2018. What others say of BatchNorm mostly comes without a number; of
these claims the sizes are ours, and as a rule 5 points of accuracy are a difference.

Diverged runs count. From the first loss that is not finite on there is nothing to measure, but the
end of such a run is known: its loss is infinite, its accuracy that of the untrained network.
Interrupted runs are left out, because their end is not known. A run trains if it finishes with a
test accuracy at least 5 points above chance.
"""

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

from bnstudy.claims.judging import Arm, Claim, Result, judge, summary
from bnstudy.claims.rules import (
    NO_RUNS,
    NOT_MEASURABLE,
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    VERDICTS,
    Range,
    Rule,
    as_large,
    at_least,
    at_most,
    comparable_to,
    in_words,
    less_than,
    listed,
    more_than,
)
from bnstudy.claims.tables import to_json, to_markdown
from bnstudy.results import Run

__all__ = [
    "ADDED",
    "CLAIMS",
    "EXPERIMENTS",
    "NOT_MEASURABLE",
    "NOT_REPRODUCED",
    "NO_RUNS",
    "OTHERS",
    "PARTLY",
    "REPRODUCED",
    "VERDICTS",
    "Arm",
    "Claim",
    "Range",
    "Result",
    "Rule",
    "as_large",
    "at_least",
    "at_most",
    "comparable_to",
    "discover",
    "evaluate",
    "in_words",
    "judge",
    "less_than",
    "listed",
    "more_than",
    "summary",
    "to_json",
    "to_markdown",
]

# The modules of the paper's claims and of what this study adds to them, in the paper's order.
PAPER = ("training", "noise", "shift", "landscape", "lp", "theory", "added")


def discover() -> dict[str, ModuleType]:
    """Every topic by name: the modules with CLAIMS, the paper's first, the others by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    names = [*PAPER, *(name for name in names if name not in PAPER)]
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "CLAIMS")}


def evaluate(runs: Mapping[str, Sequence[Run]]) -> list[Result]:
    """The verdict on every claim from the runs of each experiment, in the order of CLAIMS."""
    return [judge(claim, runs) for claim in CLAIMS]


_TOPICS = discover()
CLAIMS: tuple[Claim, ...] = tuple(claim for topic in _TOPICS.values() for claim in topic.CLAIMS)
EXPERIMENTS = tuple(dict.fromkeys(name for claim in CLAIMS for name in claim.experiments))
# The topic of what this study adds, and those of what others than the paper say.
ADDED: str = _TOPICS["added"].TOPIC
OTHERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        claim.topic
        for name, topic in _TOPICS.items()
        if name not in PAPER
        for claim in topic.CLAIMS
    )
)
