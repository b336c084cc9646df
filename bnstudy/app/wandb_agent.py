"""What an agent of W&B passes, in the words that scripts/train.py reads.

`wandb agent` gives 8.0 for 8, nested values as Python would print them, and, to a run that goes on
after a preemption, its whole config instead of the words of the sweep.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

# The key of a run's config in W&B under which the words are kept that the agent gave at first.
WORDS = "sweep_words"
PLAIN = re.compile(r"[\w./+-]+")  # what Hydra reads as it is


def translate(words: list[str]) -> list[str]:
    """The words of an agent as overrides; those of the first attempt if they are among them.

    What is no KEY=VALUE, such as -m, stays.
    """
    given = [word.removeprefix("--").partition("=") for word in words]
    before = next((value_of(text) for key, _, text in given if key == WORDS), None)
    if isinstance(before, list):
        return translate([str(word) for word in before])
    return [
        word
        for plain, (key, equals, text) in zip(words, given, strict=True)
        for word in (overrides(key, value_of(text)) if equals else [plain])
    ]


def overrides(key: str, value: Any) -> Iterator[str]:
    """A value as overrides: of a nested one an override for each of its leaves."""
    if key == "_wandb":  # W&B's own notes
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from overrides(f"{key}.{name}", inner)
    else:
        yield f"{key}={spell(value)}"


def value_of(text: str) -> Any:
    """What Python printed; the text itself where it is no printed value."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def spell(value: Any) -> str:
    """A value in Hydra's words."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(spell, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    # What Hydra would read by itself, such as [A,B] or ${scale.name}, came as it is.
    if not isinstance(value, str) or PLAIN.fullmatch(value) or value[:1] in "[{'\"$":
        return str(value)
    return json.dumps(value, ensure_ascii=False)
