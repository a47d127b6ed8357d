"""Numbers from predictions: metrics computed offline in NumPy from gathered, per-example outputs.

Nothing here knows TensorFlow: a run stores what the network said about every example once
(``Predictions``), and every number can be computed from that file again.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["calibration", "delong", "measures", "metrics", "probe", "subgroups", "testing"],
    submod_attrs={
        "intervals": ["Intervals", "bootstrap"],
        "metrics": ["Report", "compute"],
        "pairing": ["pair"],
        "predictions": ["Predictions", "load_predictions", "save_predictions"],
        "ranking": ["rank_statistics"],
        "resampling": ["units_of"],
        "tally": ["Tally"],
    },
)
