"""Layer 2: training and transfer, joining data, models and optimisation under ``tf.distribute``."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "conversion": ["Facts", "convert"],
        "dry": ["dry_run"],
        "export": ["export_run"],
        "predict": ["evaluate"],
        "probing": ["probe", "probe_plan"],
        "proximity": ["measure_proximity"],
        "proximity_folders": ["Folders"],
        "proximity_network": ["open_network"],
        "run": ["pretrain", "transfer"],
        "step": ["EngineCache"],
    },
)
