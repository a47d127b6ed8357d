"""Layer 1: BiT ResNet-v2 networks in Keras, their heads, and the released ``.npz`` files.

Networks take images float32[B, H, W, 3] in [-1, 1] and give logits float32[B, C]. Their stages are
layers named ``root_block``, ``block1`` to ``block4``, ``group_norm``, ``pool`` and ``head``.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "arrays": ["open_arrays", "recognise"],
        "heads": ["feature_extractor", "freeze", "is_head", "replace_head"],
        "memory": ["Footprint", "footprint"],
        "npz": ["LoadReport", "load_npz", "npz_shapes", "save_npz", "write_arrays"],
        "resnetv2": ["VARIANTS", "build", "check_name", "names", "npz_key", "reinitialize"],
    },
)
