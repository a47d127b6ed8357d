"""What a network is made of, for the cost model: gradients and work of each layer."""

import dataclasses
import math
import re
from collections.abc import Sequence

from experiments.benchmarks import allreduce
from keras_transfer import models

# Assumptions: the share of the backward pass in a step, bytes of a parameter's gradient, outputs.
BACKWARD = 2 / 3
BYTES = 4
CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a network is made of, in the order of the backward pass.

    Attributes:
        sizes: Bytes of the gradient of each variable.
        multiplications: Multiply-adds of the forward pass and image with each variable.
    """

    sizes: tuple[float, ...]
    multiplications: tuple[float, ...]

    def step(self, seconds: float) -> allreduce.Step:
        """Spreads the time of a whole step over forward pass and layers."""
        whole = sum(self.multiplications)
        backward = (BACKWARD * seconds * part / whole for part in self.multiplications)
        return allreduce.Step((1 - BACKWARD) * seconds, tuple(backward), self.sizes)


def profile(model: str, size: int, num_classes: int = CLASSES) -> Profile:
    """Reads the shapes of a network's definition; makes no weights, however large it is."""
    shapes = models.npz_shapes(model, num_classes)
    work = [_multiplications(name, shape, size) for name, shape in shapes.items()]
    sizes = [float(BYTES * math.prod(shape)) for shape in shapes.values()]
    return Profile(tuple(reversed(sizes)), tuple(reversed(work)))


def _multiplications(name: str, shape: Sequence[int], size: int) -> float:
    """Multiply-adds per image with a variable, from where it stands in the network."""
    if not name.endswith("kernel"):
        return 0.0
    halvings = 1  # of the image, at the output of the convolution
    if found := re.search(r"/block(\d)/unit(\d+)/(\w)/(proj)?", name):
        block, unit, conv, projection = found.groups()
        # The stride of a block is that of the 3x3 convolution and projection of its first unit.
        before_stride = conv == "a" and not projection and int(unit) == 1 and int(block) > 1
        halvings = 1 + int(block) - before_stride
    side = 1 if "/head/" in name else math.ceil(size / 2**halvings)
    return float(math.prod(shape) * side**2)
