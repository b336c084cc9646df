"""Measurements along the training trajectory: one file each, named as in configs and records."""

from bnstudy.probes.activations import Activations
from bnstudy.probes.batch_sharpness import BatchSharpness
from bnstudy.probes.branches import Branches
from bnstudy.probes.consecutive_gradients import ConsecutiveGradients
from bnstudy.probes.covariate_shift import CovariateShift
from bnstudy.probes.drift import Drift
from bnstudy.probes.gradients import Gradients
from bnstudy.probes.hessian_trace import HessianTrace
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.moments import Moments
from bnstudy.probes.representations import Representations
from bnstudy.probes.scale_and_shift import ScaleAndShift
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.spectrum import Spectrum
from bnstudy.probes.theory import Theory
from bnstudy.probes.weights import Weights

__all__ = [
    "Activations",
    "BatchSharpness",
    "Branches",
    "ConsecutiveGradients",
    "CovariateShift",
    "Drift",
    "Gradients",
    "HessianTrace",
    "InternalCovariateShift",
    "Landscape",
    "Moments",
    "Representations",
    "ScaleAndShift",
    "Sharpness",
    "Spectrum",
    "Theory",
    "Weights",
]
