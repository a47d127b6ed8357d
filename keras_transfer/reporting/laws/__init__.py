"""Laws of scale: which series of a table follow one, and what data a source is worth."""

from keras_transfer.reporting.laws.findings import Laws, fit_all

__all__ = ["Laws", "fit_all"]
