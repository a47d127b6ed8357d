"""Layer 1: adaptive gradient clipping, SGD, learning rates, the BiT-HyperRule and losses.

Schedules and the rule are NumPy only: importing this package does not start TensorFlow.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["hyperrule", "losses", "schedules"],
    submod_attrs={
        "agc": ["AGC"],
        "schedules": ["Schedule", "make_schedule", "scale_linearly"],
        "sgd": ["SGD"],
        "unitwise": ["clip_unitwise", "unitwise_norm"],
    },
)
