"""Who is on the films: patients, their images, and which findings each image has.

Findings come from a Gaussian copula: a finding is present where a standard normal variable exceeds
the quantile of its prevalence, and the variables share factors (congestion, acute illness, tumour)
and persist in a patient. Prevalences are therefore exact in expectation, while findings occur
together and come back in follow-up images, as they do in hospital archives.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from keras_transfer.core.seeds import generator

_NORMAL = NormalDist()


class Finding(NamedTuple):
    """How often a finding occurs and with what.

    Attributes:
        prevalence: Share of images that have it, about that of CheXpert and ChestX-ray14.
        congestion: Correlation with heart failure.
        illness: Correlation with acute illness, which also decides between PA and AP films.
        tumour: Correlation with malignancy.
        persistence: Share of the variance that a patient's images have in common.
    """

    prevalence: float
    congestion: float = 0.0
    illness: float = 0.0
    tumour: float = 0.0
    persistence: float = 0.5


FINDINGS = {
    "Atelectasis": Finding(0.14, illness=0.5),
    "Cardiomegaly": Finding(0.14, congestion=0.65, persistence=0.95),
    "Consolidation": Finding(0.12, illness=0.5, persistence=0.2),
    "Edema": Finding(0.12, congestion=0.75, illness=0.3, persistence=0.3),
    "Effusion": Finding(0.20, congestion=0.5, illness=0.35, tumour=0.25),
    "Mass": Finding(0.06, tumour=0.7, persistence=0.95),
    "Nodule": Finding(0.08, tumour=0.6, persistence=0.95),
    "Pleural_Thickening": Finding(0.06, tumour=0.2, persistence=0.95),
    "Pneumothorax": Finding(0.08, illness=0.4, persistence=0.2),
    "Support Devices": Finding(0.25, congestion=0.2, illness=0.75),
}
_FACTOR_PERSISTENCE = 0.6


@dataclass(frozen=True, slots=True)
class Patient:
    """What all images of a patient share; lengths are shares of a film's side.

    Attributes:
        number: From 0.
        sex: ``F`` or ``M``.
        age: In years.
        images: Number of images.
        fat: Layer around the chest, 0 slim to 1 obese.
        half_width: Half the inner width of the chest.
        length: Length of the lungs relative to the mean.
        heart_ratio: Width of the heart over that of the chest (cardiothoracic ratio), without
            cardiomegaly: below 0.5.
        heart_tilt: 0 steep to 1 lying.
        rib_spacing: Between neighbouring ribs.
        dome_gap: How much higher the right diaphragm is.
        knob: Size of the aortic arch.
        anatomy: Seed of everything else that does not change between images.
    """

    number: int
    sex: str
    age: int
    images: int
    fat: float
    half_width: float
    length: float
    heart_ratio: float
    heart_tilt: float
    rib_spacing: float
    dome_gap: float
    knob: float
    anatomy: int


@dataclass(frozen=True, slots=True)
class Case:
    """One image: a patient on a day.

    Attributes:
        patient: The patient.
        number: Image of the patient, from 0.
        view: ``PA`` or ``AP``.
        severity: Finding -> severity in (0, 1]; findings that are absent are not in it.
        inspiration: 0 poor to 1 full: how far the diaphragm is down.
        seed: Of the pose, the exposure and the noise.
    """

    patient: Patient
    number: int
    view: str
    severity: dict[str, float]
    inspiration: float
    seed: int


def patient(seed: int, number: int, images_per_patient: float) -> Patient:
    """Draws a patient: a pure function of its arguments.

    Args:
        seed: Of the population.
        number: Of the patient.
        images_per_patient: Mean number of images, at least 1.
    """
    rng = generator(seed, "phantom", "patient", number)
    sex = "F" if rng.random() < 0.48 else "M"
    age = int(np.clip(rng.normal(58, 17), 18, 95))
    return Patient(
        number=number,
        sex=sex,
        age=age,
        images=1 + int(rng.poisson(images_per_patient - 1)),
        fat=float(rng.beta(2, 3)),
        half_width=float(np.clip(rng.normal(0.365 if sex == "F" else 0.38, 0.012), 0.33, 0.41)),
        length=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1)),
        heart_ratio=float(np.clip(rng.normal(0.435 + 0.0004 * (age - 58), 0.022), 0.38, 0.485)),
        heart_tilt=float(rng.random()),
        rib_spacing=float(rng.normal(0.0635, 0.002)),
        dome_gap=float(np.clip(rng.normal(0.022, 0.008), 0.0, 0.05)),
        knob=float(np.clip(rng.normal(0.027 + 0.0002 * (age - 58), 0.003), 0.018, 0.042)),
        anatomy=int(rng.integers(2**31)),
    )


def case(
    seed: int,
    who: Patient,
    number: int,
    *,
    findings: tuple[str, ...],
    prevalence: float,
    ap_share: float,
) -> Case:
    """Draws an image of a patient: a pure function of its arguments.

    Args:
        seed: Of the population.
        who: The patient.
        number: Of the image.
        findings: Which may occur.
        prevalence: Factor on the prevalence of each.
        ap_share: Share of AP films; the sickest are taken so.
    """
    lasting = generator(seed, "phantom", "lasting", who.number)
    passing = generator(seed, "phantom", "image", who.number, number)
    shared = _mix(lasting.standard_normal(3), passing.standard_normal(3), _FACTOR_PERSISTENCE)
    own = lasting.standard_normal(len(FINDINGS)), passing.standard_normal(len(FINDINGS))
    severity = {}
    for index, (name, finding) in enumerate(FINDINGS.items()):
        loads = np.array([finding.congestion, finding.illness, finding.tumour])
        rest = _mix(own[0][index], own[1][index], finding.persistence)
        value = float(loads @ shared + math.sqrt(1 - loads @ loads) * rest)
        share = min(0.95, finding.prevalence * prevalence)
        excess = _NORMAL.cdf(value) - (1 - share)
        if name in findings and excess > 0:
            severity[name] = max(1e-3, excess / share)  # uniform in (0, 1]
    ill = _NORMAL.cdf(float(shared[1]))
    view = "AP" if ill > 1 - ap_share else "PA"
    breath = passing.normal(0.5 if view == "AP" else 0.8, 0.15)
    return Case(
        patient=who,
        number=number,
        view=view,
        severity=severity,
        inspiration=float(np.clip(breath, 0.0, 1.0)),
        seed=int(passing.integers(2**31)),
    )


def _mix(lasting: np.ndarray, passing: np.ndarray, persistence: float) -> np.ndarray:
    """Adds standard normal variables to standard normal ones with a shared part."""
    return math.sqrt(persistence) * lasting + math.sqrt(1 - persistence) * passing
