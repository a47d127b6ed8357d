"""Which terms of PadChest's reports are which of the 27 findings, by two rules.

PadChest gives every image a list of terms out of 194. The exact rule looks up whole terms in
`TERMS`. The authors' rule (as TorchXRayVision's) looks for the finding's name and a few other texts
anywhere in the list as written, and so takes "pseudonodule" for a nodule.

`TERMS` has, for every finding, the term itself and the terms that PadChest's own tree of terms
places below it where they say the same of a certain place or form. Beside each finding stands what
it leaves out although the tree or the authors' rule would have it.
"""

import ast
from collections.abc import Set

from keras_transfer.core.errors import UserError
from keras_transfer.data import records

TERMS: dict[str, tuple[str, ...]] = {
    "Air Trapping": ("air trapping",),
    "Aortic Atheromatosis": ("aortic atheromatosis",),
    # Not "supra aortic elongation" (the vessels above the arch) and not "aortic button enlargement"
    # (a wide arch, not a long one).
    "Aortic Elongation": (
        "aortic elongation",
        "ascendent aortic elongation",
        "descendent aortic elongation",
    ),
    "Atelectasis": (
        "atelectasis",
        "atelectasis basal",
        "laminar atelectasis",
        "lobar atelectasis",
        "round atelectasis",
        "segmental atelectasis",
        "total atelectasis",
    ),
    "Bronchiectasis": ("bronchiectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    # An air bronchogram is a sign of consolidation, and below it in the tree.
    "Consolidation": ("consolidation", "air bronchogram"),
    "Costophrenic Angle Blunting": ("costophrenic angle blunting",),
    # Not "heart insufficiency", "kerley lines" or "vascular redistribution": signs or causes.
    "Edema": ("pulmonary edema", "edema"),
    # Fluid in the pleural space. Not "pericardial effusion" (around the heart). The authors' rule
    # misses the last three.
    "Effusion": (
        "pleural effusion",
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
        "empyema",
        "hemothorax",
    ),
    # Not "subcutaneous emphysema" (air below the skin), not "COPD signs".
    "Emphysema": ("emphysema",),
    # Not "fibrotic band" (a scar), "post radiotherapy changes" or "asbestosis signs" (causes).
    "Fibrosis": ("pulmonary fibrosis",),
    "Flattened Diaphragm": ("flattened diaphragm",),
    # Of any bone. Not "callus rib fracture" (healed), not "vertebral compression" and "vertebral
    # anterior compression" (the tree has them among degenerative changes).
    "Fracture": (
        "fracture",
        "clavicle fracture",
        "humeral fracture",
        "rib fracture",
        "vertebral fracture",
    ),
    "Granuloma": ("granuloma", "calcified granuloma"),
    # Not "diaphragmatic eventration" (a thin part that bulges).
    "Hemidiaphragm Elevation": ("hemidiaphragm elevation",),
    "Hernia": ("hiatal hernia", "hernia"),
    # Not "calcified adenopathy" and "calcified mediastinal adenopathy" (healed), not "hilar
    # congestion".
    "Hilar Enlargement": (
        "hilar enlargement",
        "adenopathy",
        "pulmonary artery enlargement",
        "vascular hilar enlargement",
    ),
    # A wide term: consolidation belongs to it in the tree as well as for the authors.
    "Infiltration": (
        "infiltrates",
        "air bronchogram",
        "alveolar pattern",
        "consolidation",
        "ground glass pattern",
        "interstitial pattern",
        "miliary opacities",
        "reticular interstitial pattern",
        "reticulonodular interstitial pattern",
    ),
    # Of lung and pleura. Not "mediastinal mass", "breast mass" and "soft tissue mass".
    "Mass": ("mass", "pulmonary mass", "pleural mass"),
    # Not "pseudonodule", "nipple shadow" and "end on vessel" (no nodules); a granuloma is a finding
    # of its own.
    "Nodule": ("nodule", "multiple nodules"),
    # Not "pleural plaques" and "calcified pleural plaques", not thick fissures.
    "Pleural_Thickening": (
        "pleural thickening",
        "apical pleural thickening",
        "calcified pleural thickening",
    ),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    # Not "pneumomediastinum" and "pneumoperitoneo" (air elsewhere).
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    # Not "kyphosis".
    "Scoliosis": ("scoliosis",),
    # Electrical devices, as for the authors, and "dai" (a defibrillator, which their rule misses).
    # Not tubes, catheters and valves, which CheXpert's label of this name covers.
    "Support Devices": (
        "electrical device",
        "dai",
        "dual chamber device",
        "pacemaker",
        "single chamber device",
    ),
    # Not "tuberculosis sequelae" (scars of a past one).
    "Tuberculosis": ("tuberculosis",),
}
FINDINGS = tuple(TERMS)
_EXACT = {name: frozenset(terms) for name, terms in TERMS.items()}

# What the authors' rule looks for beside the name of the finding in lower case.
_AUTHORS_TEXTS = {
    "Consolidation": ("air bronchogram",),
    "Hilar Enlargement": ("adenopathy", "pulmonary artery enlargement"),
    "Infiltration": (
        "infiltrates",
        "interstitial pattern",
        "ground glass pattern",
        "reticular interstitial pattern",
        "reticulonodular interstitial pattern",
        "alveolar pattern",
        "consolidation",
        "air bronchogram",
    ),
    "Pleural_Thickening": ("pleural thickening",),
    "Support Devices": ("device", "pacemaker"),
}
_AUTHORS = {name: (name.lower(), *_AUTHORS_TEXTS.get(name, ())) for name in FINDINGS}


def parse(text: str, where: str) -> set[str]:
    """Returns the terms of a cell such as ``['normal', ' pacemaker', '']``.

    Args:
        text: The column ``Labels`` as it is.
        where: File and line, for the message.

    Returns:
        In lower case, without blanks around them and without empty ones.

    Raises:
        UserError: If it is not a list of texts.
    """
    try:
        terms = ast.literal_eval(text)
        if not isinstance(terms, list):
            raise TypeError
        return {term.strip().lower() for term in terms} - {""}
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise UserError(
            f"{where}: Labels is {shown!r}, not a list of quoted terms such as ['normal']: get the "
            "table again."
        ) from None


def exact(terms: Set[str]) -> tuple[int, ...]:
    """Returns the state of every finding by whole terms.

    Args:
        terms: Of an image, as of `parse`.
    """
    return tuple(
        records.POSITIVE if terms & _EXACT[name] else records.NEGATIVE for name in FINDINGS
    )


def authors(text: str) -> tuple[int, ...]:
    """Returns the state of every finding by the authors' rule.

    Args:
        text: The column ``Labels`` as it is.
    """
    return tuple(
        records.POSITIVE if any(part in text for part in _AUTHORS[name]) else records.NEGATIVE
        for name in FINDINGS
    )
