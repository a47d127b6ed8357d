"""What arXiv:2106.00116 and its poster compare, under the names that results carry."""

SMALL_NET, LARGE_NET = ARCHS = ("r50x1", "r152x4")

# Domains of sources and of targets.
NATURAL, MEDICAL = "natural", "medical"

NATURAL_SOURCES = ("imagenet1k", "imagenet21k")
# Each has one set of chest X-rays more than the one before.
MEDICAL_SOURCES = (
    "chexpert",
    "chexpert+mimic",
    "chexpert+mimic+nih",
    "chexpert+mimic+nih+padchest",
)
# X-ray targets with several findings per image, measured by their mean AUC.
LARGE_XRAYS = ("padchest_cl", "mimic", "chexpert", "padchest", "nih")


def medical_sources(target: str) -> tuple[str, ...]:
    """Returns the growing unions of X-ray datasets; for PadChest-Cl those without PadChest."""
    return MEDICAL_SOURCES[:-1] if target == "padchest_cl" else MEDICAL_SOURCES
