"""Laws of scale in a table: how error falls with images, source size and parameters, if it does.

A law is fitted to every series (`series`), and stands only if its checks do (`power_law`).
"""

from dataclasses import dataclass

import pandas as pd

from keras_transfer.reporting.figures.drawing import Figure
from keras_transfer.reporting.laws import effective_data, figures, words
from keras_transfer.reporting.laws.fits import fit, frame
from keras_transfer.reporting.laws.series import all_series
from keras_transfer.reporting.tables import Table


@dataclass(frozen=True)
class Laws:
    """What was found.

    Attributes:
        rows: One row per series: what it is (against, target, source, arch, shots), the fit (step:
            training steps of all points; form, n_points, n_seeds, a, b, c with low and high, AICc
            of both forms and their difference, floor minus power), the checks (lack_of_fit: p;
            held_out_x, predicted with low and high, measured), verdict (``holds`` or ``refused``),
            reason and left_out. Errors are in percent for shares, and so are a and c. NaN is what
            was not computed.
        effective: Effective data transferred, see `effective_data.measure`.
        figures: One figure per ``against`` that has a point.
        statements: What may be said, in sentences.
    """

    rows: pd.DataFrame
    effective: pd.DataFrame
    figures: list[Figure]
    statements: list[str]


def fit_all(table: Table) -> Laws:
    """Fits a law to every series of a table; refused ones stay in, with the reason."""
    fits = [fit(series) for series in all_series(table)]
    effective = effective_data.measure(fits, table.source_sizes)
    return Laws(
        rows=frame(fits),
        effective=effective,
        figures=figures.draw(table, fits),
        statements=words.statements(fits, effective),
    )
