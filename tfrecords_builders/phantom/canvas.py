"""Drawing in the coordinates of the chest, whatever the size and the pose of the film.

Chest coordinates: x runs from -0.5 at the left edge of the film (the patient's right side) to 0.5,
0 is the midline; y runs from 0 at the top to 1 at the bottom. A pose turns, scales and shifts them.
"""

import functools

import cv2
import numpy as np

_SHIFT = 4  # OpenCV draws with 4 binary places
_STEPS = 6
_UNIT = np.float32(1 / 255)

Stroke = tuple[np.ndarray, float, float]  # points, width, value


class Canvas:
    """A square film that is drawn on.

    Args:
        size: Pixels of a side.
        angle: Rotation in radians, clockwise.
        zoom: Enlargement about the middle of the film.
        shift: Displacement in x and y.

    Attributes:
        size: Pixels of a side.
    """

    def __init__(self, size: int, *, angle: float, zoom: float, shift: tuple[float, float]):
        self.size = size
        self._pose = angle, zoom, shift
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self._matrix = (turn * zoom * size).T
        self._fixed = self._matrix * (1 << _SHIFT)
        self._origin = np.array([0.5 + shift[0], 0.5 + shift[1]]) * size - 0.5
        self._middle = np.array([0.0, 0.5])
        self._start = self._origin * (1 << _SHIFT) - self._middle @ self._fixed
        self._scale = zoom * size

    @functools.cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        back = np.linalg.inv(self._matrix)
        offsets = np.arange(self.size)[:, None] - self._origin  # [size, 2], columns for x and y
        across, down = offsets[None, :, 0], offsets[:, None, 1]
        x, y = (across * back[0, axis] + down * back[1, axis] for axis in (0, 1))
        return x.astype(np.float32), (y + self._middle[1]).astype(np.float32)

    @property
    def x(self) -> np.ndarray:
        """Chest coordinate x of each pixel, float32[size, size]."""
        return self._grid[0]

    @property
    def y(self) -> np.ndarray:
        """Chest coordinate y of each pixel, float32[size, size]."""
        return self._grid[1]

    def resized(self, size: int) -> "Canvas":
        """Returns the same film with another number of pixels."""
        angle, zoom, shift = self._pose
        return Canvas(size, angle=angle, zoom=zoom, shift=shift)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Returns chest coordinates float[..., 2] in the fixed-point pixels of OpenCV."""
        return np.rint(np.asarray(points) @ self._fixed + self._start).astype(np.int32)

    def region(self, points: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Fills a polygon.

        Args:
            points: float[n, 2], its corners.
            soft: Width over which its edge fades.

        Returns:
            float32[size, size], 1 inside, 0 outside.
        """
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(mask, [self.pixels(points)], 255, cv2.LINE_AA, _SHIFT)
        return self.blur(mask, soft) * _UNIT

    def ellipse(
        self, centre: tuple[float, float], radii: tuple[float, float], soft: float = 0.0
    ) -> np.ndarray:
        """Fills an ellipse; as `region`."""
        return self.region(np.asarray(centre) + circle(24) * radii, soft)

    def strokes(self, lines: list[Stroke], soft: float = 0.0) -> np.ndarray:
        """Draws lines; where they cross, the later one wins.

        Args:
            lines: Points float[n, 2], or float[m, n, 2] for several alike; width; value in [0, 1].
            soft: Width over which edges fade.

        Returns:
            float32[size, size] in [0, 1].
        """
        mask = np.zeros((self.size, self.size), np.uint8)
        for points, width, value in lines:
            wide = width * self._scale
            # What is thinner than a pixel is drawn fainter instead.
            strength = round(255 * value * min(1.0, wide))
            pixels = self.pixels(points)
            batch = list(pixels) if pixels.ndim == 3 else [pixels]
            cv2.polylines(mask, batch, False, strength, max(1, round(wide)), cv2.LINE_AA, _SHIFT)
        return self.blur(mask, soft) * _UNIT

    def blur(self, image: np.ndarray, width: float) -> np.ndarray:
        """Blurs with a Gaussian of standard deviation ``width``, unless below half a pixel."""
        sigma = width * self._scale
        if sigma < 0.5:
            return image
        if sigma >= 4:  # wide blurs are done on a small copy
            factor = 2 ** int(np.log2(sigma / 2))
            small = cv2.resize(
                image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA
            )
            small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REPLICATE)
            return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)

    def texture(self, rng: np.random.Generator, grain: float) -> np.ndarray:
        """Returns smooth noise, float32[size, size] of mean 0 and variance about 1.

        Args:
            rng: Randomness.
            grain: Size of its structures.
        """
        cells = max(2, round(1 / grain)) + 1
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        noise = cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        return noise * np.float32(1.3)


@functools.lru_cache
def circle(count: int) -> np.ndarray:
    """Returns float[count, 2], points of the unit circle."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@functools.lru_cache
def _catmull_rom() -> np.ndarray:
    """Returns float[steps, 4], the weights of four control points."""
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return np.concatenate([t**0, t, t**2, t**3], axis=1) @ basis


def smooth(points: list | np.ndarray, *, closed: bool = False) -> np.ndarray:
    """Returns a smooth curve through points (Catmull-Rom), float[m, 2].

    Args:
        points: float[n, 2].
        closed: Whether the last is joined to the first.
    """
    points = np.asarray(points, float)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([points[:1], points, points[-1:]])
    windows = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)  # [m, 4, 2]
    curve = np.einsum("sk,mkd->msd", _catmull_rom(), windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])
