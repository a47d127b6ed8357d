"""What is known of weights that others have published, by the names that they gave them."""

import re

from experiments.configs import paper_runs
from experiments.configs.pretrain import AUTHORS, OPTIMIZED

# Preprocessing by name. The authors' mean and deviation of 0.5 for X-rays are BiT's range.
PRESETS = {
    "bit": "value_range(-1, 1)",
    "imagenet": "standardize('imagenet')",
    "medical": "value_range(-1, 1)",
}


def authors_facts(name: str) -> dict[str, str] | None:
    """Returns what a config of the authors says about its weights; None for any other name.

    Args:
        name: Such as ``chexpert_mimic_bit152x4`` or ``imagenet1k_bit50x1_optimized``.
    """
    match = re.fullmatch(r"(\w+)_bit(50x1|152x4)(_optimized)?", name)
    if match is None:
        return None
    source = match[1].replace("_", "+")
    run = f"{source}-r{match[2]}:{OPTIMIZED if match[3] else AUTHORS}"
    if run not in paper_runs.names():
        return None
    config = paper_runs.get_config(run)
    return {
        "arch": config.model.name,
        "source": f"{source}:{OPTIMIZED}" if match[3] else source,
        "train": config.data.train,
        "eval": config.data.eval,
    }
