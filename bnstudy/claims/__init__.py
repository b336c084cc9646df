"""What is claimed of batch normalization, each claim as a reduction over runs with a verdict.

A new claim is one more `Claim` in CLAIMS of its topic, a module in this folder, beside the function
that measures it; a new topic is a new file. Nothing else has to know of it. Such a function reduces
the runs of one seed, one run or one grid of runs of every arm that is compared, to one number, so
arms are compared seed by seed.

The value of a claim is the median over seeds. Its interval is a 95 % bootstrap interval over seeds:
percentiles of the value over resamples of the seeds, all arms of a seed drawn together. With up to
five seeds that is the range from the smallest to the largest. It contains the true median with a
probability of only 50 % for two seeds, 75 % for three and 94 % for five. So a verdict of supported,
contradicted or no effect needs five seeds.

A claim is about a direction: it has a value that would mean no effect, 1 for a ratio and 0 for a
difference. Around it is a zone in which a difference does not matter: a tenth of a ratio, a point
of accuracy, or what the rule says. Some claims say that two things are equal, or that one is no
worse. Their rule has a margin instead. The size of an effect is reported beside the paper's number.
A number of the paper that does not meet the rule is marked.

The primary claims were named, with their rules, before the runs that judge them were made. Only
seeds from 10 on count for them: the seeds below were looked at before. All other claims are
exploratory. They are many, so some of them come out as supported by chance.

A claim says how long its runs have to be, in steps, samples or by a training accuracy that has come
to rest. Shorter runs do not judge it. Runs of scale demo illustrate the study and judge nothing.

Diverged runs count. From the first loss that is not finite on there is nothing to measure, but the
end of such a run is known: its loss is infinite, its accuracy that of guessing. A measure that is
compared step by step counts as infinite where the run has ended. Interrupted runs are left out,
because their end is not known. A run trains if it finishes with a test accuracy at least 5 points
above chance. "The paper" is Santurkar et al. 2018.
"""

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

from bnstudy.claims.judging import Arm, Claim, Control, Needs, Result, judge, summary
from bnstudy.claims.rules import (
    CONTRADICTED,
    ENOUGH,
    NO_EFFECT,
    NO_RUNS,
    NOT_MEASURABLE,
    SUGGESTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
    Range,
    Rule,
    at_least,
    at_most,
    greater,
    in_words,
    less,
    listed,
    within,
)
from bnstudy.claims.tables import COVERAGE, to_json, to_markdown
from bnstudy.results import Run

__all__ = [
    "ADDED",
    "CLAIMS",
    "CONTRADICTED",
    "COVERAGE",
    "ENOUGH",
    "EXPERIMENTS",
    "NOT_MEASURABLE",
    "NO_EFFECT",
    "NO_RUNS",
    "OTHERS",
    "SUGGESTED",
    "SUPPORTED",
    "UNDECIDED",
    "VERDICTS",
    "Arm",
    "Claim",
    "Control",
    "Needs",
    "Range",
    "Result",
    "Rule",
    "at_least",
    "at_most",
    "evaluate",
    "greater",
    "in_words",
    "judge",
    "less",
    "listed",
    "summary",
    "to_json",
    "to_markdown",
    "topics",
    "within",
]

# The modules of the primary claims, of the paper's others, and of what this study adds to them.
PAPER = (
    *("primary", "training", "noise", "internal_covariate_shift", "landscape", "lp", "theory"),
    "this_study",
)


def topics() -> dict[str, ModuleType]:
    """Every topic by name: the modules with CLAIMS, the primary first, then the paper's."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    names = [*PAPER, *(name for name in names if name not in PAPER)]
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "CLAIMS")}


def evaluate(runs: Mapping[str, Sequence[Run]]) -> list[Result]:
    """The verdict on every claim from the runs of each experiment, in the order of CLAIMS."""
    return [judge(claim, runs) for claim in CLAIMS]


_TOPICS = topics()
CLAIMS: tuple[Claim, ...] = tuple(claim for topic in _TOPICS.values() for claim in topic.CLAIMS)
EXPERIMENTS = tuple(dict.fromkeys(name for claim in CLAIMS for name in claim.experiments))
# The topic of what this study adds, and those of what others than the paper say.
ADDED: str = _TOPICS["this_study"].TOPIC
OTHERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        claim.topic
        for name, topic in _TOPICS.items()
        if name not in PAPER
        for claim in topic.CLAIMS
    )
)
