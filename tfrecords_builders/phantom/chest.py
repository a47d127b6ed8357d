"""The chest without findings: where everything is, and how much it attenuates.

Sides are the patient's: the right lung is at negative x, at the left of the film.
"""

from dataclasses import dataclass

import numpy as np

from tfrecords_builders.phantom.canvas import Canvas, circle, smooth
from tfrecords_builders.phantom.cases import Case

RIGHT, LEFT = -1, 1
_APEX, _HILUM = 0.115, 0.42
_NORMAL_HEART = 0.32


@dataclass(slots=True)
class Body:
    """Lengths that follow from patient, pose and findings, in chest coordinates.

    Attributes:
        half_width: Half the inner width of the chest.
        apex: y of the tips of the lungs.
        domes: y of the highest point of each half of the diaphragm, by side.
        heart_width: Width of the heart.
        shift: Displacement of heart, trachea and great vessels; positive to the patient's left.
        portable: Whether it is an AP film.
        rng: Randomness of the anatomy, the same in all images of a patient.
    """

    half_width: float
    apex: float
    domes: dict[int, float]
    heart_width: float
    shift: float
    portable: bool
    rng: np.random.Generator

    @property
    def heart_ratio(self) -> float:
        """Width of the heart over the inner width of the chest."""
        return self.heart_width / (2 * self.half_width)


@dataclass(slots=True)
class Layers:
    """What is summed up to a film, float32[size, size] each.

    Attributes:
        soft: Soft tissue without lungs: heart, liver, muscles, fat.
        air: How much of the ray goes through aerated lung, 0 to 1.
        clear: How much of the ray neither heart nor great vessels block, 0 to 1.
        markings: Vessels of the lungs, seen where there is air.
        bone: Ribs, clavicles, shoulder blades and spine.
        added: Whatever else is on the film: fluid lines, devices.
    """

    soft: np.ndarray
    air: np.ndarray
    clear: np.ndarray
    markings: np.ndarray
    bone: np.ndarray
    added: np.ndarray


def body_of(case: Case) -> Body:
    """Returns the geometry of a case, including what findings do to the shape of the chest."""
    who, ap = case.patient, case.view == "AP"
    rng = np.random.Generator(np.random.Philox(who.anatomy))
    dome = 0.635 + 0.085 * case.inspiration
    dome = _APEX + (dome - _APEX) * who.length
    domes = {RIGHT: dome - who.dome_gap / 2, LEFT: dome + who.dome_gap / 2}
    ratio = who.heart_ratio
    if "Cardiomegaly" in case.severity:
        ratio = 0.505 + 0.165 * case.severity["Cardiomegaly"]
    # The heart is nearer to the source on AP films, and spreads where the diaphragm is high.
    ratio *= (1.07 if ap else 1.0) * (1 + 0.08 * (0.8 - case.inspiration))
    return Body(
        half_width=who.half_width,
        apex=_APEX + (0.012 if ap else 0.0),
        domes=domes,
        heart_width=2 * who.half_width * ratio,
        shift=0.0,
        portable=ap,
        rng=rng,
    )


def lung(body: Body, side: int) -> np.ndarray:
    """Returns the outline of a lung, float[n, 2]: down the mediastinum, up the chest wall."""
    w, top, dome = body.half_width, body.apex, body.domes[side]
    angle = dome + 0.105  # the costophrenic angle
    lateral = [(w, angle - 0.045), (w * 0.99, 0.60), (w * 0.94, 0.45), (w * 0.82, 0.30)]
    lateral += [(w * 0.63, 0.185), (w * 0.47, top + 0.018)]
    medial = [(0.115, top + 0.001), (0.07, top + 0.05), (0.052, 0.27), (0.055, 0.42)]
    medial += [(0.06, 0.56), (0.07, dome + 0.02)]
    floor = [(0.13, dome + 0.004), (w * 0.52, dome), (w * 0.78, dome + 0.026)]
    points = np.array([*medial, *floor, (w * 0.965, angle - 0.012), *lateral])
    outline = smooth(points, closed=True)
    outline[:, 0] *= side
    return outline


def heart(body: Body) -> np.ndarray:
    """Returns the outline of the heart, float[n, 2]: a third of its width right of the midline."""
    w, floor = body.heart_width, (body.domes[LEFT] + body.domes[RIGHT]) / 2
    top = 0.37
    height = floor + 0.03 - top
    relative = np.array(
        [
            (-0.20, 0.0),
            (-0.27, 0.25),
            (-0.34, 0.55),
            (-0.345, 0.80),
            (-0.24, 1.02),
            (0.10, 1.10),
            (0.45, 1.10),
            (0.63, 1.0),
            (0.655, 0.84),
            (0.60, 0.63),
            (0.47, 0.40),
            (0.32, 0.18),
            (0.22, 0.0),
        ]
    )
    # The great vessels at its top do not grow with it.
    grown = np.clip(0.2 + 1.8 * relative[:, 1], 0, 1)
    width = grown * w + (1 - grown) * _NORMAL_HEART
    points = relative * np.stack([width, np.full(len(relative), height)], axis=1)
    return smooth(points + np.array((body.shift, top)), closed=True)


def draw(canvas: Canvas, case: Case, body: Body) -> Layers:
    """Draws a healthy chest of this geometry."""
    who = case.patient
    lungs = canvas.region(lung(body, RIGHT), 0.003) + canvas.region(lung(body, LEFT), 0.003)
    # Rays near the edge of a lung go through less of it.
    depth = 0.62 + 0.38 * canvas.blur(lungs, 0.035)
    shadow = canvas.region(heart(body), 0.006)
    vessels = _great_vessels(canvas, body, who.knob)
    # Some lung lies before and behind the heart.
    clear = (1 - np.clip(1.25 * shadow, 0, 0.82)) * (1 - 0.9 * vessels)
    air = np.maximum(lungs * depth * clear, 0.85 * _trachea(canvas, body))
    abdomen = _abdomen(canvas, body)
    soft = _torso(canvas, body, who.fat) + np.maximum(0.14 * shadow, 0.10 * vessels)
    soft += 0.05 * abdomen + _descending_aorta(canvas, body) - _stomach(canvas, body)
    if who.sex == "F":
        soft += _breasts(canvas, body, who.fat)
    ribs = _ribs(canvas, body, who.rib_spacing, abdomen)
    return Layers(
        soft=soft,
        air=air,
        clear=clear,
        markings=_vessels(canvas, body) + 0.10 * canvas.texture(body.rng, 0.02),
        bone=ribs + _girdle(canvas, body) + _spine(canvas, body),
        added=np.zeros_like(soft),
    )


def _torso(canvas: Canvas, body: Body, fat: float) -> np.ndarray:
    """Soft tissue of chest wall, neck and shoulders."""
    w = body.half_width + 0.045 + 0.05 * fat
    right = [(0.085, -0.2), (0.088, 0.0), (0.11, 0.055), (0.24, 0.10), (0.40, 0.145)]
    right += [(0.56, 0.22), (0.70, 0.32), (0.70, 0.46), (w + 0.035, 0.40), (w, 0.50), (w, 0.80)]
    right += [(w + 0.02, 1.0), (w + 0.03, 1.3)]
    half = smooth(right)
    outline = np.concatenate([half, half[::-1] * (-1, 1)])
    inside = canvas.region(outline, 0.006)
    across = np.clip(np.abs(canvas.x) / (w + 0.02), 0, 1)
    thickness = np.sqrt(np.clip(1.04 - across**2.6, 0.05, 1))
    return inside * (0.34 + (0.36 + 0.06 * fat) * thickness)


def _great_vessels(canvas: Canvas, body: Body, knob: float) -> np.ndarray:
    """Superior vena cava on the right, aortic arch and pulmonary trunk on the left."""
    s = body.shift
    right = smooth([(-0.055, 0.0), (-0.062, 0.18), (-0.075, 0.30), (-0.085, 0.45)])
    left = smooth([(0.09, 0.45), (0.078, 0.335), (0.062, 0.30), (0.058, 0.20), (0.045, 0.0)])
    middle = canvas.region(np.concatenate([right, left]) + np.array((s, 0)), 0.005)
    arch = canvas.ellipse((0.048 + s, 0.27), (knob * 1.2, knob * 1.6), 0.004)
    trunk = canvas.ellipse((0.072 + s, 0.375), (0.032, 0.04), 0.004)
    return np.maximum(middle, np.maximum(arch, trunk))


def _descending_aorta(canvas: Canvas, body: Body) -> np.ndarray:
    s = body.shift
    path = np.array([(0.05 + s, 0.28), (0.045 + s, 0.5), (0.03, 0.8)])
    return 0.03 * canvas.strokes([(path, 0.035, 1.0)], 0.006)


def _trachea(canvas: Canvas, body: Body) -> np.ndarray:
    """Air in the windpipe and the main bronchi."""
    s = body.shift
    tube = np.array([(0.0, -0.05), (-0.002, 0.15), (-0.004 + s, 0.31)])
    right = np.array([(-0.004 + s, 0.31), (-0.05 + s, 0.375)])
    left = np.array([(-0.004 + s, 0.31), (0.06 + s, 0.385)])
    lines = [(tube, 0.034, 0.32), (right, 0.024, 0.26), (left, 0.02, 0.22)]
    return canvas.strokes(lines, 0.005)


def _abdomen(canvas: Canvas, body: Body) -> np.ndarray:
    edge = body.domes[RIGHT] * (canvas.x < 0) + body.domes[LEFT] * (canvas.x >= 0)
    return np.clip((canvas.y - edge) * 8, 0, 1)


def _stomach(canvas: Canvas, body: Body) -> np.ndarray:
    """The bubble of air under the left diaphragm."""
    width = body.rng.uniform(0.03, 0.065)
    centre = (0.17 + body.rng.uniform(-0.03, 0.03), body.domes[LEFT] + 0.055)
    return 0.22 * canvas.ellipse(centre, (width, 0.022), 0.008)


def _breasts(canvas: Canvas, body: Body, fat: float) -> np.ndarray:
    """Soft shadows over the lower zones, sharp below."""
    size = 0.095 + 0.05 * fat
    shadow = np.zeros_like(canvas.x)
    for side in (RIGHT, LEFT):
        shadow += canvas.ellipse((side * 0.205, 0.615), (size * 1.15, size), 0.012)
    return 0.055 * shadow


def _vessels(canvas: Canvas, body: Body) -> np.ndarray:
    """Hila, and vessels that branch twice and taper on their way from them."""
    rng, lines = body.rng, []
    side = np.repeat([RIGHT, LEFT], 9)
    angle = np.tile(np.linspace(-1.35, 1.3, 9), 2) + rng.normal(0, 0.08, 18)
    start = np.stack([side * 0.072 + body.shift, _HILUM - 0.015 * (side == LEFT)], axis=1)
    length = 0.30 * (1 - 0.25 * np.abs(np.sin(angle))) * rng.uniform(0.8, 1.05, 18)
    width, t = 0.017, np.array([0.0, 0.35, 0.7, 1.0])[:, None]
    for _ in range(3):
        end = angle + rng.normal(0, 0.25, len(angle))  # the way turns
        first, last = (np.stack([side * np.cos(a), np.sin(a)], axis=1) for a in (angle, end))
        way = first[:, None] * (1 - t) + last[:, None] * t  # [branches, 4, 2]
        points = start[:, None] + length[:, None, None] * t * way
        for i in range(3):
            value = 0.55 * width / 0.017 * (1 - 0.2 * i) + 0.1
            lines.append((points[:, i : i + 2], width * (1 - 0.25 * i), value))
        turn = rng.uniform(0.35, 0.7, len(angle))
        start = np.concatenate([points[:, 1], points[:, 2]])
        angle = np.concatenate([angle + turn, angle - turn])
        side, length, width = np.tile(side, 2), np.tile(length * 0.5, 2), width * 0.55
    lines.sort(key=lambda line: line[2])  # the strongest last, on top
    hila = np.zeros_like(canvas.x)
    for which in (RIGHT, LEFT):
        centre = (which * 0.085 + body.shift, _HILUM + 0.01)
        hila += canvas.ellipse(centre, (0.028, 0.062), 0.014)
    return 0.75 * hila + canvas.strokes(lines, 0.0018)


def _ribs(canvas: Canvas, body: Body, spacing: float, abdomen: np.ndarray) -> np.ndarray:
    """Back parts of ten pairs of ribs, and the fainter front parts of seven."""
    t = np.linspace(0, np.pi / 2, 10)
    rib = np.arange(10)[:, None]
    reach = body.half_width * np.minimum(1.02, 0.62 + 0.13 * rib) + 0.012
    x = 0.03 + (reach - 0.03) * np.sin(t)  # [ribs, points]
    y = 0.125 + spacing * rib - 0.018 * np.sin(1.6 * t)
    y = y + (0.045 + 0.018 * rib) * (1 - np.cos(t))
    back = np.stack([x, y], axis=-1)
    rib, reach = rib[:7], reach[:7]
    x = reach - (reach - 0.10 - 0.01 * rib) * np.sin(t)
    y = y[:7, -1:] + 0.01 + (0.10 + 0.006 * rib) * (1 - np.cos(t)) + 0.019 * t
    front = np.stack([x, y], axis=-1)
    back, front = (np.concatenate([part, part * (-1, 1)]) for part in (back, front))
    solid = canvas.strokes([(back, 0.021, 0.8)], 0.002)
    # The cortex: ribs are brightest at their rims.
    rim = np.clip(solid - 0.7 * canvas.blur(solid, 0.006), 0, 1)
    bone = 0.062 * solid + 0.07 * rim + 0.038 * canvas.strokes([(front, 0.024, 0.8)], 0.003)
    return bone * (1 - 0.6 * abdomen)


def _girdle(canvas: Canvas, body: Body) -> np.ndarray:
    """Clavicles and shoulder blades; the latter overlie the lungs on AP films."""
    lift = -0.03 if body.portable else 0.0
    outward = 0.285 if body.portable else 0.345
    bones, blades = [], np.zeros_like(canvas.x)
    for side in (RIGHT, LEFT):
        points = [(0.038, 0.192), (0.12, 0.178 + lift / 2), (0.22, 0.135 + lift)]
        points += [(0.33, 0.108 + lift), (0.42, 0.115 + lift)]
        bones.append((smooth(points) * (side, 1), 0.026, 0.9))
        blade = [(outward + 0.02, 0.15), (outward + 0.13, 0.13), (outward + 0.15, 0.22)]
        blade += [(outward + 0.07, 0.40), (outward + 0.035, 0.42), (outward, 0.28)]
        blades += canvas.region(smooth(blade, closed=True) * (side, 1), 0.004)
    solid = canvas.strokes(bones, 0.002)
    rim = np.clip(blades - canvas.blur(blades, 0.008), 0, 1)
    return 0.12 * solid + 0.045 * blades + 0.08 * rim


def _spine(canvas: Canvas, body: Body) -> np.ndarray:
    """Vertebral bodies with the gaps of the discs, and spinous processes."""
    inside = canvas.region(
        np.array([(-0.03, -0.3), (0.03, -0.3), (0.04, 1.3), (-0.04, 1.3)]), 0.004
    )
    discs = np.cos(canvas.y * (2 * np.pi / 0.062))
    column = inside * (0.075 - 0.028 * np.clip(discs - 0.45, 0, 1))
    tops = np.arange(0.03, 1.0, 0.062)[:, None, None]
    processes = np.array([(0.0, 0.0), (0.0, 0.012)]) + tops * (0, 1)  # [vertebrae, 2, 2]
    return column + 0.03 * canvas.strokes([(processes, 0.010, 0.8)], 0.003)


def blob(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, lobes: float
) -> np.ndarray:
    """Returns an irregular closed outline.

    Args:
        rng: Randomness.
        centre: Its middle.
        radius: Mean distance of the outline from it.
        lobes: Standard deviation of that distance, relative.
    """
    distance = radius * np.clip(1 + lobes * rng.standard_normal(12), 0.4, 1.8)
    return smooth(np.asarray(centre) + circle(12) * distance[:, None], closed=True)
