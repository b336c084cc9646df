"""The verdicts as JSON and as Markdown."""

import json
import math
from collections.abc import Sequence
from typing import Any

from bnstudy.claims.judging import Result

COVERAGE = (
    "An interval contains the true median with a probability of 50 % for 2 seeds, 75 % for 3 and "
    "94 % for 5. So supported, contradicted and no effect need 5 seeds."
)


def to_json(results: Sequence[Result]) -> str:
    """The results as strict JSON; numbers that are not finite as strings, absent ones null."""
    entries = [
        {
            "name": result.claim.name,
            "topic": result.claim.topic,
            "primary": result.claim.primary,
            "title": result.claim.title,
            "says": result.claim.says,
            "source": result.claim.source,
            "quantity": result.claim.quantity,
            "unit": result.claim.rule.unit.strip(),
            "paper": result.claim.rule.paper,
            "paper_meets_rule": result.claim.rule.paper_meets_it,
            "value": _plain(result.value),
            "interval": [_plain(result.low), _plain(result.high)] if result.n > 1 else None,
            "n": result.n,
            "by_seed": {str(seed): _plain(value) for seed, value in result.by_seed.items()},
            "verdict": result.verdict,
            "rule": result.claim.rule_in_words,
            "scale": result.scale or None,
            "experiments": list(result.claim.experiments),
            "arms": [
                {"norm": arm.norm, "lr": arm.lr} | dict(arm.options) for arm in result.claim.arms
            ],
            "notes": list(result.notes),
        }
        for result in results
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: float | tuple[float, ...]) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def to_markdown(results: Sequence[Result]) -> str:
    """The results as Markdown: the primary claims first, a table per topic, then the rules."""
    lines = [COVERAGE, ""]
    for primary, heading in ((True, "Primary claims"), (False, "Exploratory claims")):
        own = [result for result in results if result.claim.primary == primary]
        if not own:
            continue
        lines += [f"# {heading}", ""]
        for topic in dict.fromkeys(result.claim.topic for result in own):
            lines += [] if topic == heading else [f"## {topic}", ""]
            lines += _table([result for result in own if result.claim.topic == topic])
    lines += ["Rules, and what else there is to say:", ""]
    for result in results:
        words = (result.claim.rule_in_words, *result.notes)
        lines.append(f"- {result.claim.title}. {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result]) -> list[str]:
    lines = ["| claim | paper | measured | verdict |", "|---|---|---|---|"]
    for result in results:
        claim = result.claim
        what = f"**{claim.title}.** {claim.says} ({claim.source})"
        measured = f"{result.measured} ({claim.quantity})" if result.measured else "–"
        unmet = " (not by this rule)" if claim.rule.paper_meets_it is False else ""
        cells = (what, f"{result.paper or '–'}{unmet}", measured, f"**{result.verdict}**")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]
