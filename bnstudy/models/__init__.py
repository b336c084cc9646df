"""Networks: one file each.

A model takes `input_shape`, `num_outputs` and `norm`, and has `layers`: the names of its layers in
forward order. A layer is a module that holds one conv or linear and, as `norm`, its norm (Identity
where there is none), such as `bnstudy.models.layer.Layer`; what the activation function sees is the
output of its `preactivation`, or of its norm if it has none of that name.
"""
