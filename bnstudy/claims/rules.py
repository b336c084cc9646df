"""What is claimed, as ranges of a number, and how the verdict follows; numbers in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_MEASURABLE = "not measurable at this scale"
NO_RUNS = "no runs"
VERDICTS = {
    REPRODUCED: "There are two seeds or more, and the whole interval lies in the claimed range.",
    PARTLY: "Not that, but the value lies in the weaker range: the effect is too small, or not sure"
    " to hold over seeds, or there is one seed only. One run shows that something can happen, not "
    "that it does (the curves of the paper are single runs).",
    NOT_REPRODUCED: "The value does not even lie in the weaker range. One seed is enough for that, "
    "because it says no more than that these runs do not show the claim.",
    NOT_MEASURABLE: "The claim is about the end of a training that is as long as the paper's, or "
    "these runs have no value for it, say no step late enough.",
    NO_RUNS: "An arm has no run that has ended, or none that recorded what is needed.",
}


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both included unless it is `open`; infinite values are."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        at_an_end = math.isfinite(value) and value in (self.low, self.high)
        return self.low <= value <= self.high and not (self.open and at_an_end)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'more than' if self.open else 'at least'} {in_words(self.low)}"
        if self.low == -math.inf:
            return f"{'less than' if self.open else 'at most'} {in_words(self.high)}"
        return f"from {in_words(self.low)} to {in_words(self.high)}"


def at_least(low: float) -> Range:
    """The range without an upper end."""
    return Range(low=low)


def at_most(high: float) -> Range:
    """The range without a lower end."""
    return Range(high=high)


def more_than(low: float) -> Range:
    """The range above a value."""
    return Range(low=low, open=True)


def less_than(high: float) -> Range:
    """The range below a value."""
    return Range(high=high, open=True)


@dataclass(frozen=True)
class Rule:
    """How the verdict follows from the value and its interval.

    `weaker` is the `claimed` range if it is not given. `why` says where the claimed range is from,
    `paper` is the same number of the paper, None where it has none. `scales` are those at which the
    claim can be judged, () for all.
    """

    claimed: Range
    weaker: Range | None = None
    why: str = ""
    paper: float | None = None
    unit: str = ""
    scales: tuple[str, ...] = ()

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        words = f"Reproduced: the whole interval is {self.claimed}{why}. "
        if self.weaker:
            words += f"Partly: the value is {self.weaker}. "
        else:
            words += "Partly: the value is, but not the whole interval. "
        if self.scales:
            words += f"Judged at scale {' or '.join(self.scales)} only. "
        return words + "With one seed at most partly."

    def verdict(self, value: float, low: float, high: float, scale: str) -> str:
        """The verdict on a value and its interval, whose ends are NaN for fewer than two seeds."""
        if math.isnan(value) or (self.scales and scale not in self.scales):
            return NOT_MEASURABLE
        if low in self.claimed and high in self.claimed:
            return REPRODUCED
        return PARTLY if value in (self.weaker or self.claimed) else NOT_REPRODUCED

    @property
    def paper_meets_it(self) -> bool | None:
        """Whether the paper's number lies in the claimed range; None if there is none."""
        return None if self.paper is None else self.paper in self.claimed


HALF = "half of the paper's effect"
SIMILAR = "within a quarter"


def as_large(ratio: float) -> Rule:
    """A ratio that is at least half as large as the paper's on a log axis; weaker: at least 1."""
    return Rule(at_least(math.sqrt(ratio)), at_least(1), HALF, ratio, "×")


def comparable_to(paper: float) -> Rule:
    """A ratio that is smaller, or no more than a quarter larger; weaker: a factor of two."""
    return Rule(at_most(1.25), at_most(2), SIMILAR, paper, "×")


def in_words(value: float, fixed: bool = False) -> str:
    """A number in words, 1e-6 and not 1e-06, in three digits; if `fixed` zeros at its end too."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "")
    if 100 <= abs(value) < 10_000 or value == 0:
        text = f"{value:.0f}"
    else:
        text = f"{value:#.3g}" if fixed and 1e-3 <= abs(value) < 100 else f"{value:.3g}"
    text = text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return text.replace("-", "−", 1) if value < 0 else text


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
