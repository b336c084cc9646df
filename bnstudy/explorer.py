"""The explorer, one page on which a reader walks through the records of runs, step by step.

The page holds a table of contents and, for every network, a block with the numbers of its runs. A
network is all runs that may be compared: they differ in norm, lr and seed. The numbers are those of
the records in four digits. What is reduced on the page is the same for a record that is dropped on
it: `explorer.html` has the formulas of `measures` once more, and a test compares them.
"""

import base64
import gzip
import hashlib
import json
import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnstudy import claims
from bnstudy.measures import activations, batch_sharpness, landscape, sharpness, spectrum, train
from bnstudy.measures import drift as drifts
from bnstudy.measures import internal_covariate_shift as shifts
from bnstudy.measures.layers import hidden_layers, recorded_layers
from bnstudy.measures.stability import edge_of_stability
from bnstudy.record import ACCURACY, LOSS, LR
from bnstudy.results import RECORDS, Run, Series, Steps, Values, load_run, settings

NAME = "explorer.html"
TEMPLATE = Path(__file__).with_name(NAME)
LARGEST = 1_350_000  # bytes of the block of a network; a larger one keeps every 2nd, 3rd, ... step
OWN = "own"  # the scale of records of one's own loop
CELLS = 40  # of a histogram
FEW = 3  # layers whose activations are shown
POINTS = 150  # of a curve that has a value at every step
SPARSE = 5  # of so many points of a spectrum's density one is shown
# Places of `drift`, as the paper calls what is there: the input of the norm, of the activation
# function, and of the next layer.
PLACES = {"y": "norm_input_same", "z": "preactivation_same", "a": "activation_same"}
# By panel, the claims that its numbers decide.
DECIDED = {
    "walk": ("loss_range", "larger_distances", "linear_loss_orders"),
    "loss": ("loss_range", "linear_loss_orders"),
    "change": ("gradient_change", "linear_change_orders"),
    "beta": ("effective_beta", "edge_1e-6"),
    "line": ("first_change", "gradient_change_orders"),
    "shift": ("shift_relative", "shift_cosine", "linear_shift_1e-7"),
    "training": ("faster_training", "test_accuracy"),
    "activations": ("drift_norm_input", "half_are_zero"),
    "sharpness": ("below_edge_0.1", "batch_sharpness_edge_0.1"),
    "spectrum": ("outliers", "gradient_concentrates"),
}
Block = dict[str, Any]


class Look(Protocol):
    """The name, colour and marker of an arm, as `bnstudy.figures.style` has them."""

    @property
    def name(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def marker(self) -> str: ...


def make(runs: Sequence[Run], looks: Mapping[str, Look], report: str = "") -> str:
    """The page of these runs; `looks` of their norms, `report` the address of the page of claims.

    Runs without a probe that the page shows are left out. Raises ValueError if no run is left.
    The same runs give the same page.
    """
    shown = [run for run in runs if is_probed(run)]
    if not shown:
        raise ValueError(
            "No run has a record that the explorer shows: landscape, internal_covariate_shift, "
            "activations, drift, sharpness, batch_sharpness or spectrum."
        )
    found = networks(shown)
    labels = titles(found)
    contents: Block = {
        "keys": keys(),
        "looks": {
            norm: {"name": look.name, "colour": look.colour, "marker": look.marker}
            for norm, look in looks.items()
        },
        "claims": {claim.name: claim.title for claim in claims.CLAIMS if _is_named(claim.name)},
        "report": report,
        "left_out": len(runs) - len(shown),
        "networks": [],
    }
    blocks = []
    for label, own in zip(labels, found, strict=True):
        names = arm_names(own)
        stride, block = fitting_block(own)
        blocks.append(block)
        contents["networks"].append(
            {
                "title": label,
                "scale": own[0].scale,
                "stride": stride,
                "experiments": list(dict.fromkeys(run.experiment for run in own)),
                "decided": decided(own),
                "runs": [facts(run, arm) for run, arm in zip(own, names, strict=True)],
            }
        )
    return page([pack(contents), *blocks])


def page(blocks: Sequence[str]) -> str:
    """The page with these blocks: the table of contents, then one for every network."""
    text = TEMPLATE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = "\n".join(f'<script type="text/plain" class="data">{block}</script>' for block in blocks)
    return text.replace("SCRIPT_HASH", f"sha256-{digest}").replace("<!-- data -->", data)


def write(text: str, folder: Path) -> Path:
    """Write the page into a folder, whole or not at all; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as staging:
        path = Path(staging, NAME)
        path.write_text(text, encoding="utf-8")
        return path.replace(folder / NAME)


def pack(block: Block) -> str:
    """A block as text: JSON, compressed, in base64."""
    text = json.dumps(block, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def unpack(text: str) -> Block:
    """The block that `pack` made a text of."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


# Which runs


def find_runs(root: Path, unreadable: list[str]) -> list[Run]:
    """All runs below a folder, whatever their folders are called, by experiment and name.

    `unreadable` gets a sentence for every record that cannot be read.
    """
    folders = {path.parent for name in RECORDS for path in root.rglob(name)}
    runs = []
    for folder in sorted(folders):
        try:
            if max(path.stat().st_size for name in RECORDS if (path := folder / name).exists()):
                runs.append(load_run(folder))
        except (OSError, ValueError) as error:
            unreadable.append(str(error))
    return runs


def is_probed(run: Run) -> bool:
    """Whether a run has a record that the page shows, beside its losses and accuracies."""
    kinds = (shifts.COSINE, activations.HISTOGRAM, *map(_drift_key, PLACES.values()))
    curvatures = (
        sharpness.EIGENVALUES["batch"],
        batch_sharpness.CURVATURE["batch"],
        spectrum.NODES.format("batch"),
    )
    return any(key in run for key in (landscape.LOSS, *curvatures)) or any(
        recorded_layers(run, kind) for kind in kinds
    )


def networks(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs by network: those that differ in norm, lr and seed only.

    Networks with a record along the gradient come first, of these the tested. Of runs that are one
    training, of two experiments say, the one that recorded most is kept. Records of one's own do
    not say all that tells two runs apart: of them every one is kept.
    """
    found: dict[str, dict[tuple[Any, ...], Run]] = {}
    for run in runs:
        own_folder = run.directory if run.scale == OWN else None
        same = json.dumps(run.config.get("norm")), run.norm, run.lr, _seed(run), own_folder
        own = found.setdefault(settings(run), {})
        own[same] = max(own.get(same, run), run, key=_records)
    return sorted((list(own.values()) for own in found.values()), key=_place)


def _place(own: Sequence[Run]) -> tuple[bool, bool, int]:
    """Where a network comes: those with a walk first, of these the tested, of these the largest."""
    walked = any(landscape.LOSS in run for run in own)
    return not walked, not any(train.TEST_ACCURACY in run for run in own), -len(own)


def _records(run: Run) -> int:
    return sum(len(run.steps(key)) for key in run.keys())  # noqa: SIM118  a run is no mapping


def arm_names(runs: Sequence[Run]) -> list[str]:
    """The arm of every run: its norm, with options or folder where two runs would have one name."""
    options = [_leaves(run.config.get("norm")) for run in runs]
    names = []
    for run, own in zip(runs, options, strict=True):
        rivals = [o for other, o in zip(runs, options, strict=True) if other.norm == run.norm]
        told = [key for key in own if any(rival.get(key) != own[key] for rival in rivals)]
        names.append(" ".join([run.norm, *(f"{key}={own[key]}" for key in told)]))
    cells = [(name, run.lr, _seed(run)) for name, run in zip(names, runs, strict=True)]
    return [
        f"{name} {run.directory.name}" if cells.count(cell) > 1 else name
        for name, run, cell in zip(names, runs, cells, strict=True)
    ]


def _seed(run: Run) -> int:
    """The seed; 0 for a record of one's own that names none."""
    return run.option("seed") or 0


def titles(found: Sequence[Sequence[Run]]) -> list[str]:
    """What to call every network; where two have one label, with what tells them apart."""
    labels = [own[0].label for own in found]
    options = [_leaves(json.loads(settings(own[0]))[1]) for own in found]
    told = []
    for label, own in zip(labels, options, strict=True):
        rivals = [o for other, o in zip(labels, options, strict=True) if other == label]
        differing = [
            f"{key} {value}"
            for key, value in own.items()
            if any(rival.get(key) != value for rival in rivals)
        ]
        told.append("; ".join([label, *differing[:3]]))
    return told


def _leaves(config: Any, path: str = "") -> dict[str, Any]:
    """The values of a nested dict by path, such as "model.depth"."""
    if not isinstance(config, dict):
        return {path: config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _leaves(value, f"{path}.{key}" if path else str(key))
    return found


def decided(runs: Sequence[Run]) -> dict[str, list[str]]:
    """By panel, the claims that are about the experiments of these runs."""
    experiments = {run.experiment for run in runs}
    about = {claim.name for claim in claims.CLAIMS if experiments & set(claim.experiments)}
    return {
        panel: [name for name in names if name in about]
        for panel, names in DECIDED.items()
        if about & set(names)
    }


def _is_named(name: str) -> bool:
    return any(name in names for names in DECIDED.values())


# The numbers of a run


def keys() -> Block:
    """The metric keys, for the page to read a record that is dropped on it."""
    return {
        "loss": LOSS,
        "lr": LR,
        "accuracy": ACCURACY,
        "test": train.TEST_ACCURACY,
        "samples": train.SAMPLES,
        "lines": landscape.LINES,
        "gradient": landscape.GRADIENT,
        "l2": shifts.L2,
        "cosine": shifts.COSINE,
        "norm": shifts.NORM,
        "histogram": activations.HISTOGRAM,
        "range": activations.RANGE,
        "zeros": activations.ZEROS,
        "drift": {place: _drift_key(name) for place, name in PLACES.items()},
        "eigenvalues": sharpness.EIGENVALUES["batch"],
        "curvature": batch_sharpness.CURVATURE["batch"],
    }


def facts(run: Run, arm: str) -> Block:
    """What the table of contents says of a run."""
    return {
        "name": f"{run.experiment}/{run.directory.name}",
        "norm": run.norm,
        "arm": arm,
        "lr": number(run.lr, digits=6),
        "seed": _seed(run),
        "outcome": run.outcome,
        "last": train.trained_steps(run),
        "steps": run.option("steps") or train.trained_steps(run) + 1,
        "batch": run.option("batch_size"),
        "layers": run.layers,
    }


def fitting_block(runs: Sequence[Run]) -> tuple[int, str]:
    """The block of a network, of every probed step or, if it is too large, of every k-th; k."""
    stride, text = 1, pack({"runs": [series(run) for run in runs]})
    while len(text) > LARGEST:
        stride = max(stride + 1, math.ceil(stride * len(text) / LARGEST))
        text = pack({"runs": [series(run, stride) for run in runs]})
    return stride, text


def series(run: Run, stride: int = 1) -> Block:
    """All that the page draws of a run at every k-th probed step; what it lacks is absent."""
    parts = {
        "walk": walk(run, stride),
        "shift": shift(run, stride),
        "activations": histograms(run, stride),
        "drift": drift(run, stride),
        "training": training(run),
        "sharpness": curvature(run, stride),
        "spectrum": densities(run, stride),
    }
    return {name: part for name, part in parts.items() if part}


def walk(run: Run, stride: int) -> Block:
    """The loss and the gradient along the gradient, and the loss and ||g|| where the walk starts.

    `lines` are the sets of step sizes: eta [n, K], loss [n, K] and, where recorded, change [n, K].
    """
    if landscape.LOSS not in run:
        return {}
    steps = run.steps(landscape.LOSS)
    kept = every(steps, stride)
    lines = []
    for names in landscape.LINES:
        if names[0] in run and len(run.steps(names[0])) == len(steps):
            known = {
                part: columns(run[key][1][kept])
                for part, key in zip(("eta", "loss", "change"), names, strict=True)
                if key and key in run
            }
            lines.append(known)
    found = {
        "steps": steps[kept].tolist(),
        "lines": lines,
        "start": columns(_at(run, LOSS, steps[kept])),
        "gradient": columns(_at(run, landscape.GRADIENT, steps[kept])),
        "lr": columns(train.learning_rates(run, steps[kept])),
    }
    if batch_sharpness.CURVATURE["batch"] in run:
        curved = batch_sharpness.curvature_along_gradient(run)
        found["curvature"] = columns(_of(curved, steps[kept]))
    return found


def shift(run: Run, stride: int) -> Block:
    """Internal covariate shift of every layer: cosine, l2 and norm [n, layers]."""
    names = recorded_layers(run, shifts.COSINE)
    if not names:
        return {}
    steps = run.steps(f"{shifts.COSINE}/{names[0]}")
    steps = steps[every(steps, stride)]
    found: Block = {"steps": steps.tolist(), "layers": names}
    for part, kind in (("cosine", shifts.COSINE), ("l2", shifts.L2), ("norm", shifts.NORM)):
        found[part] = columns(np.stack([_at(run, f"{kind}/{name}", steps) for name in names], 1))
    return found


def histograms(run: Run, stride: int) -> Block:
    """The pooled histograms at z of few layers: shares in thousandths [n, CELLS] of one range.

    Beside them the share that a ReLU makes zero.
    """
    found: Block = {}
    for layer in few(hidden_layers(run, activations.HISTOGRAM)):
        steps, counts, ranges = activations.histograms(run, layer)
        kept = every(steps, stride)
        grid = activations.histogram_grid(counts, ranges, CELLS)
        shares = []
        for row in kept:
            pooled = activations.rebin(counts[row], ranges[row], grid)
            shares.append(1000 * pooled / max(counts[row].sum(), 1))
        found[layer] = {
            "steps": steps[kept].tolist(),
            "range": [number(grid[0]), number(grid[-1])],
            "shares": np.round(shares).astype(int).tolist(),
        }
        if f"{activations.ZEROS}/{layer}" in run:
            zeros = _at(run, f"{activations.ZEROS}/{layer}", steps[kept])
            found[layer]["zeros"] = columns(zeros)
    return found


def drift(run: Run, stride: int) -> Block:
    """The distance that distributions at y, z and a move in a step, of few layers [std]."""
    names = few(
        [n for n in run.layers[:-1] if any(f"{_drift_key(p)}/{n}" in run for p in PLACES.values())]
    )
    found: Block = {}
    for layer in names:
        for place, name in PLACES.items():
            try:
                steps, values = drifts.drift(run, name, layer)
            except KeyError:
                continue
            kept = every(steps, stride)
            own = found.setdefault(layer, {"steps": steps[kept].tolist()})
            own[place] = columns(values[kept])
    return found


def training(run: Run) -> Block:
    """Loss and accuracies over training, each thinned to some POINTS: steps [n], values [n]."""
    found: Block = {}
    if LOSS in run:
        found["loss"] = _thinned(run[LOSS])
    if ACCURACY in run and len(run.steps(ACCURACY)):
        found["accuracy"] = _thinned(train.smooth_accuracy(run))
    if train.TEST_ACCURACY in run:
        found["test"] = _thinned(run[train.TEST_ACCURACY])
    return found


def curvature(run: Run, stride: int) -> Block:
    """Sharpness, and curvature of batches along their gradients, with the edge of stability."""
    found: Block = {}
    for part, key, read in (
        ("top", sharpness.EIGENVALUES["batch"], sharpness.sharpness),
        ("along", batch_sharpness.CURVATURE["batch"], batch_sharpness.batch_sharpness),
    ):
        if key in run:
            steps, values = read(run)
            kept = every(steps, stride)
            found[part] = [steps[kept].tolist(), columns(values[kept])]
            found["edge"] = [steps[kept].tolist(), columns(edge_of_stability(run, steps[kept]))]
    return found


def densities(run: Run, stride: int) -> Block:
    """The density of the Hessian's spectrum at every step: a range and values [n, P]."""
    if spectrum.NODES.format("batch") not in run:
        return {}
    steps, nodes = run[spectrum.NODES.format("batch")]
    weights = run[spectrum.WEIGHTS.format("batch")][1]
    found: Block = {"steps": [], "ranges": [], "floors": [], "values": []}
    for row in every(steps, stride):
        xs, values, floor = spectrum.smoothed_density(nodes[row], weights[row])
        if len(xs):
            shown = slice(None, None, SPARSE)
            found["steps"].append(int(steps[row]))
            found["ranges"].append([number(xs[shown][0]), number(xs[shown][-1])])
            found["floors"].append(number(floor))
            found["values"].append(columns(values[shown]))
    return found if found["steps"] else {}


# Numbers


def number(value: float, digits: int = 4) -> int | float | str:
    """A number in so many digits; what is not finite as records have it, such as "NaN"."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def columns(values: Values) -> Any:
    """Numbers [n] or [n, ...] in four digits; where all rows are one, {"all": row, "count": n}."""
    rows = values.tolist()
    if len(rows) > 1 and all(row == rows[0] for row in rows):
        return {"all": _rounded(rows[0]), "count": len(rows)}
    return [_rounded(row) for row in rows]


def _rounded(value: Any) -> Any:
    return [_rounded(one) for one in value] if isinstance(value, list) else number(value)


def every(steps: Steps, stride: int) -> NDArray[np.int64]:
    """The places of every k-th step, the first and the last among them."""
    return np.unique(np.append(np.arange(0, len(steps), stride), len(steps) - 1))


def few(names: Sequence[str]) -> list[str]:
    """Up to FEW of the names, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(names) - 1, min(FEW, len(names))).round().astype(int)
    return [names[place] for place in places]


def _thinned(series: Series) -> list[Any]:
    steps, values = series
    kept = every(steps, max(1, math.ceil(len(steps) / POINTS)))
    return [steps[kept].tolist(), columns(values[kept])]


def _at(run: Run, key: str, steps: Steps) -> Values:
    """What a run recorded at these steps [n]; NaN where it recorded nothing."""
    return _of(run[key], steps) if key in run else np.full(len(steps), np.nan)


def _of(series: Series, steps: Steps) -> Values:
    known = dict(zip(series[0].tolist(), series[1].tolist(), strict=True))
    return np.array([known.get(step, np.nan) for step in steps.tolist()], dtype=np.float64)


def _drift_key(place: str) -> str:
    return f"{drifts.PREFIX}{place}"
