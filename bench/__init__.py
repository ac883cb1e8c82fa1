"""Measurements, run by hand: `python -m bench` says which there are."""
