"""Measurements along the training trajectory: one file each, named as in configs and records."""
