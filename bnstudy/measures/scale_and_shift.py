"""What gamma and beta become, from `probes/scale_and_shift.py`."""

PERCENTILES = {  # 15, 50, 85 over all units of a layer: <key>/<layer> is [n, 3]
    "gamma": "scale_and_shift/gamma_percentiles",
    "beta": "scale_and_shift/beta_percentiles",
}
