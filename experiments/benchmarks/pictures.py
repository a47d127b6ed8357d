"""Images to measure on, whose spectra give files as large as those of real images.

Noise with power-law spectra: 91 kB for a photograph of 500 x 375 at JPEG quality 92, and 16 and
50 kB for films stored at 256 and 512 pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image


def photographs(folder: Path, count: int) -> list[Path]:
    """Writes colour JPEGs of 500 x 375, in two class folders."""
    return [_write(folder, i, (375, 500, 3), falloff=1.3, quality=92) for i in range(count)]


def films(folder: Path, count: int) -> list[Path]:
    """Writes grey JPEGs of 768 x 768, in two class folders."""
    return [_write(folder, i, (768, 768, 1), falloff=1.8, quality=95) for i in range(count)]


def _write(
    folder: Path, number: int, shape: tuple[int, int, int], falloff: float, quality: int
) -> Path:
    """Writes an image whose amplitudes fall with frequency to the power ``falloff``."""
    rng = np.random.default_rng(number)
    height, width, channels = shape
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = 1
    real, imaginary = rng.normal(size=(2, channels, *frequency.shape))
    noise = np.fft.irfft2((real + 1j * imaginary) / frequency**falloff, (height, width))
    pixels = np.clip(128 + 55 * noise / noise.std(), 0, 255).astype(np.uint8)
    path = folder / "ab"[number % 2] / f"{number:05d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).save(path, quality=quality)
    return path
