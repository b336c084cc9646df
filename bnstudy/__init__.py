"""Why batch normalization helps, by experiment: networks with and without it, and probes."""

__version__ = "0.1.0"
