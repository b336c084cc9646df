"""The verdicts as JSON and as Markdown."""

import json
import math
from collections.abc import Sequence
from typing import Any

from bnstudy.claims.judging import Result


def to_json(results: Sequence[Result]) -> str:
    """The results as strict JSON; numbers that are not finite as strings, absent ones null."""
    entries = [
        {
            "name": result.claim.name,
            "topic": result.claim.topic,
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
            "rule": str(result.claim.rule),
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
    """The results as Markdown, a table per topic."""
    lines: list[str] = []
    topics = dict.fromkeys(result.claim.topic for result in results)
    for topic in topics:
        lines += [f"## {topic}", "", "| claim | paper | measured | verdict |", "|---|---|---|---|"]
        for result in (result for result in results if result.claim.topic == topic):
            claim = result.claim
            what = f"**{claim.title}.** {claim.says} ({claim.source})"
            measured = f"{result.measured} ({claim.quantity})" if result.measured else "–"
            unmet = " (not by this rule)" if claim.rule.paper_meets_it is False else ""
            cells = (what, f"{result.paper or '–'}{unmet}", measured, f"**{result.verdict}**")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += ["Rules, and what else there is to say:", ""]
    for result in results:
        lines.append(f"- {result.claim.title}. {' '.join((str(result.claim.rule), *result.notes))}")
    return "\n".join(lines) + "\n"
