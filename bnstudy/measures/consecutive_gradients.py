"""The difference of the gradients of successive batches, from `probes/consecutive_gradients.py`."""

CHANGE = "consecutive_gradients/change"  # of all parameters; <CHANGE>/<layer> of a layer
