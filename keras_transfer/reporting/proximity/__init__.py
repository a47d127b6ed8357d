"""Distance of source and target, held against what the source gained on the target."""

from keras_transfer.reporting.proximity.correlation import Proximity, correlate

__all__ = ["Proximity", "correlate"]
