"""One self-contained HTML page: sections made of tables, figures and words. No network."""

from keras_transfer.reporting.page.assembly import Content, render

__all__ = ["Content", "render"]
