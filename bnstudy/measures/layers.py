"""Which layers have a record, and which of them stands for a layer of the paper."""

from bnstudy.results import Run

CONVOLUTIONS, DEPTH = 13, 25  # the layers that the paper counts: VGG's, the deep linear network's


def find_layer(run: Run, number: int, of: int, kind: str) -> int | None:
    """The number, from 1, of the layer that stands for layer `number` of the paper's `of`.

    In a shallower network the layer at the same relative depth; of the layers that have `kind`
    recorded the nearest, None if no layer has it. A VGG's linear layers do not count.
    """
    head = run.config.get("model", {}).get("head")
    depth = len(run.layers) - (0 if head is None else len(head) + 1)
    wanted = number if depth >= of else max(1, round(number * depth / of))
    recorded = [i for i, name in enumerate(run.layers, start=1) if f"{kind}/{name}" in run]
    return min(recorded, key=lambda i: abs(i - wanted)) if recorded else None


def layer_key(run: Run, number: int, of: int, kind: str) -> str:
    """The key <kind>/<layer> of the layer that stands for layer `number` of the paper's `of`.

    Raises KeyError if no layer has it.
    """
    found = find_layer(run, number, of, kind)
    if found is None:
        raise KeyError(f"{run.directory.name} has no {kind}")
    return f"{kind}/{run.layers[found - 1]}"


def recorded_layers(run: Run, kind: str) -> list[str]:
    """The layers that have <kind>/<layer>, from the input on."""
    return [name for name in run.layers if f"{kind}/{name}" in run]


def hidden_layers(run: Run, kind: str) -> list[str]:
    """The layers that have <kind>/<layer>, without the network's last one."""
    return [name for name in run.layers[:-1] if f"{kind}/{name}" in run]


def needed_layers(run: Run, kind: str) -> list[str]:
    """The hidden layers that have <kind>/<layer>. Raises KeyError if there is none."""
    found = hidden_layers(run, kind)
    if not found:
        raise KeyError(f"{run.directory.name} has no {kind}")
    return found
