"""What an all-reduce costs, and how much of it a backward pass hides: pure functions.

Times in seconds, sizes in bytes, bandwidths in bytes/s per GPU and direction.

References: Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of
workstations" (ring); Thakur et al. 2005, "Optimization of collective communication operations in
MPICH" (alpha-beta model); Sergeev and Del Balso 2018, arXiv:1802.05799 (rings and fusion in
Horovod).
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence

Cost = Callable[[float], float]


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """How one GPU reaches its neighbour.

    Attributes:
        bandwidth: Bytes per second and direction, as NCCL reaches it, not as the cable could.
        latency: Seconds of one message, however small.
    """

    bandwidth: float
    latency: float = 0.0


def ring(size: float, members: int, link: Link) -> float:
    """Returns the time of a ring: reduce-scatter and all-gather, members - 1 messages each.

    2 (N - 1) messages of size / N: the bandwidth term nears 2 size / bandwidth and forgets N, the
    latency term grows with N.
    """
    return 2 * (members - 1) * (size / members / link.bandwidth + link.latency)


def tree(size: float, members: int, link: Link) -> float:
    """Returns the time of two binary trees, each for half of the bytes, up and down again.

    A message crosses log2 N links where a ring has N - 1: better for many members and few bytes.
    """
    if members == 1:
        return 0.0
    return 2 * (size / link.bandwidth + math.ceil(math.log2(members)) * link.latency)


def flat_ring(size: float, members: int, per_node: int, inside: Link, between: Link) -> float:
    """Returns the time of rings through all GPUs, node by node, as many as a node has adapters.

    A ring is as fast as its slowest hop. Between nodes each GPU's share of all rings passes one
    adapter; the rings cross every node, so a node's adapters carry the whole size together.
    """
    if members <= per_node:
        return ring(size, members, inside)
    node = Link(min(inside.bandwidth, per_node * between.bandwidth), 0.0)
    nodes = math.ceil(members / per_node)
    hops = nodes * between.latency + (members - nodes) * inside.latency
    return ring(size, members, node) + 2 * (members - 1) / members * hops


def hierarchical(size: float, members: int, per_node: int, inside: Link, between: Link) -> float:
    """Returns the time of reduce-scatter in each node, all-reduce between nodes, all-gather.

    Between nodes each GPU all-reduces its share, size / per_node, through its own adapter, by a
    ring or by trees, whichever is faster, as NCCL chooses.
    """
    if members <= per_node:
        return ring(size, members, inside)
    nodes = math.ceil(members / per_node)
    share = size / per_node
    across = min(ring(share, nodes, between), tree(share, nodes, between))
    return ring(size, per_node, inside) + across


def packs(sizes: Iterable[float], bytes_per_pack: float) -> list[list[int]]:
    """Groups gradients in the order of the backward pass, as TensorFlow does.

    A pack is closed once it is larger than ``bytes_per_pack``; 0 puts everything into one.

    Returns:
        Indices of the gradients in each pack.
    """
    found: list[list[int]] = []
    filled = 0.0
    for index, size in enumerate(sizes):
        if not found or (bytes_per_pack and filled > bytes_per_pack):
            found.append([])
            filled = 0.0
        found[-1].append(index)
        filled += size
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """An optimisation step on one GPU, without communication.

    Attributes:
        before: Seconds until the backward pass begins: forward pass.
        backward: Seconds that each gradient takes, in the order of the backward pass.
        sizes: Bytes of each gradient, in the same order.
        after: Seconds from the last gradient to the end: the update.
    """

    before: float
    backward: tuple[float, ...]
    sizes: tuple[float, ...]
    after: float = 0.0

    @property
    def seconds(self) -> float:
        """Time of the whole step."""
        return self.before + sum(self.backward) + self.after


def step_time(step: Step, cost: Cost, bytes_per_pack: float, *, overlap: bool = True) -> float:
    """Returns the time of a step whose gradients are all-reduced pack by pack.

    Packs go one after another, each as soon as its last gradient exists; the update waits for all.

    Args:
        step: Without communication.
        cost: Bytes of a pack -> seconds of its all-reduce.
        bytes_per_pack: See `packs`.
        overlap: Whether packs may leave before the backward pass is done.
    """
    ready = list(itertools.accumulate(step.backward, initial=step.before))[1:]
    end = ready[-1]
    free = 0.0 if overlap else end
    for pack in packs(step.sizes, bytes_per_pack):
        free = max(free, ready[pack[-1]]) + cost(sum(step.sizes[index] for index in pack))
    return max(end, free) + step.after


def communication(step: Step, cost: Cost, bytes_per_pack: float) -> float:
    """Returns the time that all packs take together, were they alone."""
    groups = packs(step.sizes, bytes_per_pack)
    return sum(cost(sum(step.sizes[index] for index in pack)) for pack in groups)


def slowest_of(members: int) -> float:
    """Returns the expected largest of N standard normal numbers: what waiting for all costs.

    Reference: Blom 1958, approximation of normal order statistics (alpha = 0.375); 0 for one.
    """
    if members == 1:
        return 0.0
    return statistics.NormalDist().inv_cdf((members - 0.375) / (members + 0.25))


def fit_jitter(lost: Sequence[tuple[int, float]]) -> float:
    """Fits how much steps vary, by least squares through the origin.

    Args:
        lost: Number of GPUs and the part of a step that is unexplained there.

    Returns:
        Standard deviation of a worker's step, in the unit of the parts; at least 0.
    """
    pairs = [(slowest_of(members), part) for members, part in lost]
    weight = sum(x * x for x, _ in pairs)
    return max(0.0, sum(x * y for x, y in pairs) / weight) if weight else 0.0


def solve(function: Callable[[float], float], goal: float, low: float, high: float) -> float:
    """Finds where a rising function meets a goal, by bisection on a logarithmic scale.

    Returns:
        NaN if it does not between ``low`` and ``high``.
    """
    if not function(low) <= goal <= function(high):
        return math.nan
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if function(middle) < goal else (low, middle)
    return math.sqrt(low * high)
