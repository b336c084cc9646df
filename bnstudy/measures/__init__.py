"""What is read out of records: every reduction of a run to a number or a series, defined once.

One file per probe: what `probes/landscape.py` records, `measures/landscape.py` reads. Figures draw
measures, claims judge them, W&B shows them. Nobody else spells a metric key. `train.py` reads what
training and its tests record. `series.py`, `layers.py` and `grids.py` hold what the others share:
reductions of a series, the layers that have a record, runs by their options.

A measure is a function of a `Run`. It gives a float, or a `Series`: steps [n] and values [n, ...].
It raises KeyError, with the nearest keys, where the run has not recorded what is needed.
"""
