"""The parts of ``experiments.sweep``: cells, how they stand, what they cost, who runs them."""
