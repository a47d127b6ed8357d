"""The sentences of the paper that compare scales or sources, as contrasts with verdicts."""

from keras_transfer.reporting.claims.examination import Claims, examine

__all__ = ["Claims", "examine"]
