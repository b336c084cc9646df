"""Why batch normalization helps, by experiment: training with and without it, and probes along the way."""

__version__ = "0.1.0"
