"""How long the gradients of layers are, from `probes/gradients.py`."""

import numpy as np

from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import at_step
from bnstudy.results import Run, Values

NORM = "gradients/norm"


def first_gradients(run: Run) -> Values:
    """The lengths of the layers' gradients at step 0, from the input on: [layers].

    Of the layers that have one recorded there.
    """
    keys = [f"{NORM}/{name}" for name in recorded_layers(run, NORM)]
    return np.array([run[key][1][0] for key in keys if run[key][0][0] == 0])


def growth_per_layer(run: Run, step: int = 0) -> float:
    """By which factor ||dL/dw|| grows from a layer to the one below it, at a probed step [1].

    exp(-slope) of a line through ln ||dL/dw|| over layers, least squares, mean of the slopes of the
    three stages of a plain network. In a stage all layers have as many channels and positions; its
    first layer, which changes them, is left out. NaN if a length is zero, a stage has fewer than
    three layers, or the step was not probed.
    """
    names = run.layers[1:-1]
    size = len(names) // 3
    slopes = []
    for stage in (names[i * size + 1 : (i + 1) * size] for i in range(3)):
        norms = np.array([at_step(run[f"{NORM}/{name}"], step) for name in stage])
        known = len(norms) >= 2 and (norms > 0).all()
        slopes.append(np.polyfit(np.arange(len(norms)), np.log(norms), 1)[0] if known else np.nan)
    return float(np.exp(-np.mean(slopes)))
