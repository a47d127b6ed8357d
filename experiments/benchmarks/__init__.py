"""Measurements of speed, a module for each part of the work; see `experiments.benchmark`."""
