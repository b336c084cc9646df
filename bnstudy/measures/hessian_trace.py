"""Samples whose mean is the trace of the Hessian, from `probes/hessian_trace.py`."""

from bnstudy.measures.series import at_the_end, median
from bnstudy.measures.sharpness import LAST
from bnstudy.results import Run

SAMPLES = {  # by statistics: v'Hv of M random vectors, [n, M]
    "batch": "hessian_trace/batch_samples",
    "running": "hessian_trace/running_samples",
}


def final_trace(run: Run, statistics: str = "batch") -> float:
    """The trace of the Hessian over the last quarter: mean over vectors, median over steps."""
    samples = at_the_end(run, run[SAMPLES[statistics]], LAST)
    return median(samples.mean(axis=1))
