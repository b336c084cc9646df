"""What is claimed, as a side of a number or a range, and how the verdict follows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SUPPORTED = "supported"
SUGGESTED = "suggested"
NO_EFFECT = "no effect"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_MEASURABLE = "not measurable"
NO_RUNS = "no runs"
ENOUGH = 5  # seeds
VERDICTS = {
    SUPPORTED: f"There are {ENOUGH} seeds or more. The whole interval is on the claimed side; the "
    "value that would mean no effect is not in it. The verdict is about the direction. The size is "
    "reported beside the paper's number.",
    SUGGESTED: f"The value is on the claimed side. There are fewer than {ENOUGH} seeds, or the "
    "interval reaches the other side.",
    NO_EFFECT: f"There are {ENOUGH} seeds or more. The whole interval is so near to “no effect” "
    "that the difference does not matter. Each rule says how near.",
    CONTRADICTED: f"There are {ENOUGH} seeds or more. The whole interval is on the other side.",
    UNDECIDED: "There is a value, and it is none of the above.",
    NOT_MEASURABLE: "The runs are too short for the claim, or of scale demo, or a control was not "
    "met, or they have no value. A note says which.",
    NO_RUNS: "An arm has no run that has ended, or no run that recorded what is needed.",
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

    @property
    def beyond(self) -> str:
        """Where a whole interval has to be to be outside, in words."""
        if self.high == math.inf:
            return f"less than {in_words(self.low)}"
        if self.low == -math.inf:
            return f"more than {in_words(self.high)}"
        return f"less than {in_words(self.low)} or more than {in_words(self.high)}"


@dataclass(frozen=True)
class Rule:
    """How the verdict follows from the value, its interval and the number of seeds.

    `claimed` is the claimed side of the value without an effect, or the claimed range. `zone` are
    values around "no effect", which count as no effect, None if there is no such verdict. `paper`
    is the same number of the paper, None where it has none. `why` says where the numbers are from.
    """

    claimed: Range
    zone: Range | None = None
    unit: str = ""
    paper: float | None = None
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        first = f"No effect: the whole interval is {self.zone}. Otherwise s" if self.zone else "S"
        words = f"{first}upported: the whole interval is {self.claimed}{why}. "
        words += f"Contradicted: the whole interval is {self.claimed.beyond}. "
        return words + f"With fewer than {ENOUGH} seeds at most suggested."

    def verdict(self, value: float, low: float, high: float, n: int) -> str:
        """The verdict on a value, the ends of its interval and the number of seeds."""
        if math.isnan(value):
            return NOT_MEASURABLE
        if n >= ENOUGH:
            if self.zone and low in self.zone and high in self.zone:
                return NO_EFFECT
            if low in self.claimed and high in self.claimed:
                return SUPPORTED
            if high < self.claimed.low or low > self.claimed.high:
                return CONTRADICTED
        return SUGGESTED if self.suggests(value) else UNDECIDED

    def suggests(self, value: float) -> bool:
        """Whether a value is on the claimed side, and not so near that it means no effect."""
        return value in self.claimed and not (self.zone and value in self.zone)

    @property
    def paper_meets_it(self) -> bool | None:
        """Whether the paper's number is on the claimed side; None if there is none."""
        return None if self.paper is None else self.suggests(self.paper)


def greater(
    null: float = 1,
    unit: str = "×",
    zone: Range | None = None,
    paper: float | None = None,
    why: str = "",
) -> Rule:
    """More than `null`, the value without an effect; `zone` as `no_effect` if it is not given."""
    claimed = Range(low=null, open=True)
    return Rule(claimed, zone or no_effect(null, unit), unit, paper, why)


def less(
    null: float = 1,
    unit: str = "×",
    zone: Range | None = None,
    paper: float | None = None,
    why: str = "",
) -> Rule:
    """Less than `null`, the value without an effect; `zone` as `no_effect` if it is not given."""
    claimed = Range(high=null, open=True)
    return Rule(claimed, zone or no_effect(null, unit), unit, paper, why)


def within(
    low: float, high: float, unit: str = "", paper: float | None = None, why: str = ""
) -> Rule:
    """From `low` to `high`, which are the margins of what counts as equal."""
    return Rule(Range(low, high), None, unit, paper, why)


def at_least(low: float, unit: str = "", paper: float | None = None, why: str = "") -> Rule:
    """Not below a margin: "no worse than"."""
    return Rule(Range(low=low), None, unit, paper, why)


def at_most(high: float, unit: str = "", paper: float | None = None, why: str = "") -> Rule:
    """Not above a margin: "no more than"."""
    return Rule(Range(high=high), None, unit, paper, why)


def no_effect(null: float, unit: str) -> Range | None:
    """What counts as no effect: a ratio within a tenth, points within 1; None of other units."""
    if unit == "×":
        return Range(null / 1.1, null * 1.1)
    return Range(null - 1, null + 1) if unit == " points" else None


SIMILAR = "within a quarter"


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
