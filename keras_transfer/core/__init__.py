"""Layer 0: names, labels, configs, seeds, samples and run directories. Python and NumPy only."""
