"""What the paper and its poster print: tables, figures, and how far numbers agree with them."""

from keras_transfer.reporting.paper.filling import PaperTable, fill, fill_all

__all__ = ["PaperTable", "fill", "fill_all"]
