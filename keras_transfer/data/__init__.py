"""Layer 1, tf.data: the record format, the augmentation string and the input pipelines."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "augment": ["compose"],
        "pipeline": ["eval_dataset", "train_dataset"],
        "dataset": ["Dataset"],
    },
)
