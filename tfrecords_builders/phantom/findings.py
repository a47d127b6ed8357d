"""Findings, drawn with the signs by which they are recognised.

Each function changes the layers of a chest in place. How strongly follows from the severity in
(0, 1]; where follows from a generator of patient and finding, so that a lesion is found again in
the patient's next image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.seeds import generator
from tfrecords_builders.phantom import chest
from tfrecords_builders.phantom.canvas import Canvas, smooth
from tfrecords_builders.phantom.cases import Case
from tfrecords_builders.phantom.chest import LEFT, RIGHT, Body, Layers, blob


@dataclass(frozen=True, slots=True)
class Scene:
    """What a finding is drawn into.

    Attributes:
        canvas: The film.
        body: The geometry.
        layers: Changed in place.
        severity: In (0, 1].
        rng: Of patient and finding.
    """

    canvas: Canvas
    body: Body
    layers: Layers
    severity: float
    rng: np.random.Generator

    def lung(self, side: int) -> np.ndarray:
        """Returns the region of a lung."""
        return self.canvas.region(chest.lung(self.body, side), 0.003)

    def fill(self, region: np.ndarray, share: float) -> None:
        """Replaces air by water in a share of the rays of a region."""
        self.layers.air *= 1 - share * np.clip(region, 0, 1)


def _rng(case: Case, name: str) -> np.random.Generator:
    return generator(case.patient.anatomy, name)


def _side(rng: np.random.Generator) -> int:
    return LEFT if rng.random() < 0.5 else RIGHT


def shape(case: Case, body: Body) -> None:
    """Changes the geometry where a finding does; before anything is drawn, as all organs follow."""
    severity = case.severity
    if "Atelectasis" in severity:
        # Loss of volume pulls diaphragm and mediastinum to its side.
        side = _side(_rng(case, "Atelectasis"))
        body.domes[side] -= 0.015 + 0.055 * severity["Atelectasis"]
        body.shift += side * (0.004 + 0.014 * severity["Atelectasis"])
    if severity.get("Pneumothorax", 0) > 0.7:
        # Tension pushes the mediastinum away.
        side = _side(_rng(case, "Pneumothorax"))
        body.shift -= side * 0.06 * (severity["Pneumothorax"] - 0.7)


def draw(case: Case, canvas: Canvas, body: Body, layers: Layers) -> None:
    """Draws all findings of a case; air is taken away before the pleura is drawn over it."""
    for name in _DRAW:
        if name in case.severity:
            scene = Scene(canvas, body, layers, case.severity[name], _rng(case, name))
            _DRAW[name](scene)


def _edema(scene: Scene) -> None:
    """Haze around both hila (bat wings), wide vessels above, septal lines at the bases."""
    canvas, layers, severity = scene.canvas, scene.layers, scene.severity
    wings = np.zeros_like(canvas.x)
    for side in (RIGHT, LEFT):
        x, y = (canvas.x - side * 0.125) / 0.12, (canvas.y - 0.47) / 0.20
        wings += np.exp(-(x**2 + y**2))
    patchy = np.clip(1 + 0.22 * canvas.texture(scene.rng, 0.035), 0.4, 1.5)
    scene.fill(np.clip(wings * patchy, 0, 1), 0.12 + 0.48 * severity)
    layers.markings *= 1.05 + 0.45 * severity
    lines = []
    for side in (RIGHT, LEFT):
        for y in 0.60 + 0.016 * np.arange(6) + scene.rng.normal(0, 0.002, 6):
            start = np.array([side * (scene.body.half_width - 0.012), y])
            lines.append((np.stack([start, start - (side * 0.035, 0.004)]), 0.003, 0.9))
    layers.added += (0.02 + 0.07 * severity) * canvas.strokes(lines)


def _consolidation(scene: Scene) -> None:
    """A patch of lung filled with fluid, in which air-filled bronchi show dark."""
    canvas, rng = scene.canvas, scene.rng
    side = _side(rng)
    centre = (side * rng.uniform(0.16, 0.26), rng.uniform(0.30, 0.62))
    radius = 0.062 + 0.055 * scene.severity
    patch = canvas.region(blob(rng, centre, radius, 0.2), 0.016)
    patch *= np.clip(1 + 0.12 * canvas.texture(rng, 0.03), 0, 1.2)
    root = np.array([side * 0.075, 0.42])
    bronchi = []
    for angle in rng.uniform(-0.6, 0.6, 3):
        end = np.array(centre) + 0.7 * radius * np.array([np.cos(angle) * side, np.sin(angle)])
        middle = (root + end) / 2 + rng.normal(0, 0.008, 2)
        bronchi.append((smooth([root, middle, end]), 0.007, 1.0))
    patch *= 1 - 0.35 * canvas.strokes(bronchi, 0.0025)
    scene.fill(patch * scene.lung(side), 0.55 + 0.3 * scene.severity)


def _atelectasis(scene: Scene) -> None:
    """Plates across the lower zone and a dense wedge at the base, over a raised diaphragm."""
    canvas, rng = scene.canvas, scene.rng
    side = _side(rng)  # the first number drawn: `shape` must find the same side
    dome = scene.body.domes[side]
    lines = []
    for number in range(1 + round(2 * scene.severity)):
        y = dome - 0.035 - 0.05 * number + rng.normal(0, 0.006)
        left = rng.uniform(0.09, 0.20)
        right = left + rng.uniform(0.10, 0.16)
        tilt = rng.normal(0, 0.02)
        points = np.array([(side * left, y), (side * right, y + tilt)])
        lines.append((points, 0.010, 0.9))
    plates = canvas.strokes(lines, 0.0035)
    wedge = np.array([(0.05, dome - 0.13), (0.06, dome + 0.06), (0.19, dome + 0.06)]) * (side, 1)
    region = canvas.region(wedge, 0.006) * scene.lung(side)
    scene.fill(np.maximum(region, 0), 0.35 + 0.4 * scene.severity)
    scene.fill(plates * scene.lung(side), 0.75)


def _nodule(scene: Scene) -> None:
    """One to three round, sharp shadows below three centimetres."""
    for _ in range(1 + int(2.2 * scene.rng.random())):
        _lesion(scene, 0.018 + 0.013 * scene.severity, 0.06, 0.0045)


def _mass(scene: Scene) -> None:
    """A lobed shadow above three centimetres with spicules."""
    canvas, rng = scene.canvas, scene.rng
    centre, radius = _lesion(scene, 0.050 + 0.035 * scene.severity, 0.12, 0.007)
    lines = []
    for angle in rng.uniform(0, 2 * np.pi, 9):
        way = np.array([np.cos(angle), np.sin(angle)])
        points = centre + radius * np.array([0.8, rng.uniform(1.2, 1.6)])[:, None] * way
        lines.append((points, 0.004, 0.8))
    scene.fill(canvas.strokes(lines, 0.002), 0.4)


def _lesion(
    scene: Scene, radius: float, lobes: float, soft: float
) -> tuple[tuple[float, float], float]:
    """Draws a solid lesion inside a lung; returns centre and radius."""
    rng, outline = scene.rng, chest.heart(scene.body)
    for _ in range(20):
        side, y = _side(rng), rng.uniform(0.22, 0.62)
        beside = side * outline[np.abs(outline[:, 1] - y) < radius + 0.02, 0]
        inner = max(0.11, beside.max(initial=0.0)) + radius
        wall = np.interp(y, [0.2, 0.3, 0.45, 0.7], [0.58, 0.78, 0.9, 0.96])
        outer = scene.body.half_width * wall - radius - 0.01
        if inner < outer:  # there is room between heart and chest wall
            break
    x = side * rng.uniform(inner, max(inner, outer))
    region = scene.canvas.region(blob(rng, (x, y), radius, lobes), soft)
    scene.fill(region, 0.60 + 0.2 * scene.severity)
    return (x, y), radius


def _pleural_thickening(scene: Scene) -> None:
    """A lumpy band along the chest wall, or a cap over the apex."""
    canvas, rng = scene.canvas, scene.rng
    side = _side(rng)
    outline = chest.lung(scene.body, side)
    if rng.random() < 0.35:
        wall = outline[(outline[:, 1] < 0.235) & (side * outline[:, 0] > 0.08)]
    else:
        top = rng.uniform(0.34, 0.44)
        lateral = side * outline[:, 0] > 0.8 * scene.body.half_width
        wall = outline[lateral & (outline[:, 1] > top) & (outline[:, 1] < 0.65)]
    # Half of the line lies in the chest wall, where it changes nothing; both ends taper off.
    width = 0.045 + 0.055 * scene.severity
    taper = np.sin(np.linspace(0, np.pi, len(wall) - 1)) ** 0.5
    segments = [(wall[i : i + 2], width * max(0.15, t), 1.0) for i, t in enumerate(taper)]
    band = canvas.strokes(segments, 0.005)
    scene.fill(band * np.clip(1 + 0.2 * canvas.texture(rng, 0.02), 0, 1.2), 0.75)


def _effusion(scene: Scene) -> None:
    """Fluid over the diaphragm that climbs the chest wall (meniscus); a veil if lying."""
    canvas, rng, body = scene.canvas, scene.rng, scene.body
    first = _side(rng)
    for side in (first, -first) if rng.random() < 0.4 else (first,):
        amount = scene.severity * (1 if side == first else 0.6)
        floor = body.domes[side] + 0.105
        across = np.clip(side * canvas.x / body.half_width, 0, 1)
        level = floor - 0.045 - 0.24 * amount - (0.05 + 0.05 * amount) * across**4
        fluid = np.clip((canvas.y - level) * 45, 0, 1) * (side * canvas.x > 0.02)
        if body.portable:
            veil = np.clip((canvas.y - 0.25) / 0.45, 0, 1) * (side * canvas.x > 0.03)
            scene.fill(veil * scene.lung(side), 0.10 + 0.28 * amount)
        scene.fill(fluid, 0.97)


def _pneumothorax(scene: Scene) -> None:
    """Air without vessels between the chest wall and the thin line of the collapsed lung."""
    canvas, layers, body = scene.canvas, scene.layers, scene.body
    side = _side(scene.rng)
    outline = chest.lung(body, side)
    hilum = np.array([side * 0.07, 0.50])
    shrink = 1 - (0.10 + 0.36 * scene.severity)
    # Air rises: the lung falls away from the apex first, from the base last.
    height = np.clip((outline[:, 1:] - body.apex) / 0.6, 0, 1)
    collapsed = hilum + (outline - hilum) * (shrink + (1 - shrink) * 0.55 * height)
    inside, lung = canvas.region(collapsed, 0.002), scene.lung(side)
    free = np.clip(lung - inside, 0, 1) * layers.clear
    layers.markings *= 1 - free
    layers.air[:] = np.maximum(layers.air * (1 - 0.22 * scene.severity * inside), free)
    lateral = collapsed[side * collapsed[:, 0] > 0.10]
    lateral = lateral[np.argsort(np.arctan2(lateral[:, 1] - 0.45, side * lateral[:, 0]))]
    layers.added += 0.11 * canvas.strokes([(lateral, 0.004, 1.0)], 0.0008)


def _devices(scene: Scene) -> None:
    """Tubes, lines, electrodes and pacemakers."""
    canvas, rng, s = scene.canvas, scene.rng, scene.body.shift
    kinds = rng.permutation(4)[: 1 + round(2 * scene.severity)]
    lines: list[tuple[np.ndarray, float, float]] = []
    for kind in kinds:
        if kind == 0:  # endotracheal tube
            lines.append((np.array([(0.004, -0.05), (0.0, 0.13), (s - 0.002, 0.25)]), 0.010, 0.65))
        elif kind == 1:  # central venous line
            side = _side(rng)
            path = [(side * 0.30, 0.10), (side * 0.17, 0.185), (side * 0.03, 0.225)]
            path += [(-0.048 + s, 0.28), (-0.05 + s, 0.40)]
            lines.append((smooth(path), 0.005, 0.8))
        elif kind == 2:  # pacemaker with its lead
            side = _side(rng)
            box = smooth(
                [(-0.03, -0.026), (0.03, -0.026), (0.034, 0.0), (0.026, 0.028), (-0.03, 0.026)],
                closed=True,
            )
            case = canvas.region(box + np.array((side * 0.27, 0.24)), 0.002)
            scene.layers.added += 0.42 * case
            path = [(side * 0.25, 0.22), (side * 0.14, 0.185), (-0.04 + s, 0.26)]
            path += [(-0.06 + s, 0.46), (-0.02 + s, 0.62), (0.08 + s, 0.66)]
            lines.append((smooth(path), 0.004, 0.9))
        else:  # electrodes with their wires
            for x, y in ((-0.25, 0.25), (0.26, 0.24), (0.20, 0.72)):
                spot = np.array([x, y]) + rng.normal(0, 0.02, 2)
                dot = canvas.ellipse((spot[0], spot[1]), (0.012, 0.012), 0.001)
                scene.layers.added += 0.22 * dot
                end = spot + np.array((0.1 * np.sign(x), 0.45))
                bend = (spot + end) / 2 + rng.normal(0, 0.03, 2)
                lines.append((smooth([spot, bend, end]), 0.004, 0.5))
    scene.layers.added += 0.30 * canvas.strokes(lines, 0.0008)


def _none(scene: Scene) -> None:
    """Cardiomegaly is a matter of shape alone: `chest.body_of` makes the heart larger."""


_DRAW: dict[str, Callable[[Scene], None]] = {
    "Cardiomegaly": _none,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Atelectasis": _atelectasis,
    "Nodule": _nodule,
    "Mass": _mass,
    "Pleural_Thickening": _pleural_thickening,
    "Effusion": _effusion,
    "Pneumothorax": _pneumothorax,
    "Support Devices": _devices,
}
