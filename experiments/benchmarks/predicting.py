"""Expected scaling of training on many GPUs: the model of `allreduce`, fed with measured steps.

Everything that is assumed, and where it is from, is part of what is printed.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.benchmarks import allreduce, profiles, scaling_rows
from experiments.benchmarks.scaling_worker import SYNTHETIC
from keras_transfer.core.errors import UserError

# arXiv:2106.00116, supplement, figure 4b: R152x4 on JUWELS Booster, FP32, PyTorch and Horovod.
PAPER = {64: 0.9707, 128: 0.9655, 256: 0.9607, 512: 0.9452, 1024: 0.9377}
_GPUS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_FIGURE_4A_MOST = 120_000 / 1024  # images/s and GPU at the end of its axis

_PER_NODE = 4
_INSIDE = allreduce.Link(bandwidth=240e9, latency=3.4e-6)
_BETWEEN = allreduce.Link(bandwidth=25e9, latency=14e-6)

_ASSUMPTIONS = (
    "assumed, for JUWELS Booster (arXiv:2106.00116, supplement A.1: 4 A100, 4 HDR200 per node):\n"
    f"  between nodes  {_BETWEEN.bandwidth / 1e9:g} GB/s per GPU and direction: an HDR200 adapter "
    "of its own at its nominal\n"
    "                 200 Gbit/s, no contention with other jobs or cells; "
    f"{_BETWEEN.latency * 1e6:g} us per message\n"
    f"  inside a node  {_INSIDE.bandwidth / 1e9:g} GB/s per GPU and direction: NVLink 3, 12 links "
    "at the 20 GB/s that NCCL\n"
    f"                 counts for each; {_INSIDE.latency * 1e6:g} us per message\n"
    "  latencies      NCCL's own (src/graph/tuning.cc, hwLat, Ring, Simple)\n"
    "  ring           through all GPUs; hierarchical: scatter in a node, then between nodes a ring "
    "or two\n"
    "                 binary trees, whichever is faster, then gather in a node\n"
    f"  gradients      float32, {profiles.BYTES} bytes per parameter (the authors' fp16 "
    "all-reduce is off); cut into packs\n"
    "                 as TensorFlow does; packs go one after another and slow nothing else down\n"
    f"  backward pass  {profiles.BACKWARD:.0%} of a step, spread over the layers like their "
    "multiplications; the update costs\n"
    "                 nothing of its own; nobody waits for input; all GPUs are equally fast\n"
    "  weak scaling   the batch per GPU is the same for every N"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and how fast one GPU trains it alone.

    Attributes:
        model: Architecture.
        batch: Images per step and GPU.
        size: Their side in pixels.
        images_per_second: Of one GPU.
        source: Where that number is from.
        measured: Number of GPUs -> efficiency to compare with.
    """

    model: str
    batch: int
    size: int
    images_per_second: float
    source: str
    measured: Mapping[int, float] = dataclasses.field(default_factory=dict)


def paper_cases() -> list[Case]:
    """Returns the paper's networks at the speed that its training times tell."""
    images = 90 * 14.2e6  # epochs of ImageNet-21k: section 3.1.1
    large = images / (81 * 3600 * 256) / PAPER[256]
    small = images / (13.5 * 3600 * 128)
    text = "section 3.1.1: 90 epochs of ImageNet-21k, 14.2 M images, in"
    precision = "AMP, input included; batch: global 4,096 over as many GPUs"
    return [
        Case("bit-r50x1", 32, 224, small, f"{text} 13.5 h on 128 GPUs; {precision}"),
        Case(
            *("bit-r152x4", 16, 224, large),
            f"{text} 81 h on 256 GPUs, divided by E(256) of figure 4b; {precision}",
            PAPER,
        ),
        Case(
            *("bit-r152x4", 16, 224, _FIGURE_4A_MOST),
            "upper bound: the axis of figure 4a ends at 120,000 images/s for 1,024 GPUs",
            PAPER,
        ),
    ]


def predict(cases: Sequence[Case], pack_mib: int) -> None:
    """Prints what efficiency is to be expected, and what would have to be true for the paper's."""
    print(_ASSUMPTIONS, flush=True)
    for case in cases:
        print()
        _predict_one(case, pack_mib)


def _predict_one(case: Case, pack_mib: int) -> None:
    content = profiles.profile(case.model, case.size)
    alone = content.step(case.batch / case.images_per_second)
    pack = pack_mib * 2**20
    count = len(allreduce.packs(alone.sizes, pack))
    flops = 6 * sum(content.multiplications) * case.images_per_second / 1e12
    print(
        f"{case.model}, {case.size} px, {profiles.CLASSES} classes: "
        f"{sum(alone.sizes) / 1e6:,.0f} MB of gradients in {count} pack(s) (pack_mib {pack_mib})\n"
        f"  one GPU: {case.batch} images per step, {case.images_per_second:.1f} images/s, "
        f"{1e3 * alone.seconds:.0f} ms,\n"
        f"  {flops:.0f} TFLOP/s (peak of an A100: 19.5 in FP32, 156 in TF32, 312 in FP16)\n"
        f"  from: {case.source}"
    )
    jitter = _jitter(alone, pack, case.measured)
    heads = ["ring", "hierarchical", "no overlap", "all-reduce ms"]
    if case.measured:
        heads += ["paper", "with jitter"]
    print(f"  {'GPUs':>5}" + "".join(f"{head:>15}" for head in heads))
    for gpus in _GPUS:
        texts = [f"{alone.seconds / t:.1%}" for t in _times(alone, gpus, pack)]
        cost = _hierarchical(gpus)
        texts.append(f"{1e3 * allreduce.communication(alone, cost, pack):.1f}")
        if case.measured:
            known = case.measured.get(gpus)
            texts.append(f"{known:.2%}" if known else "")
            texts.append(f"{_late(alone, gpus, pack, jitter):.1%}")
        print(f"  {gpus:>5}" + "".join(f"{text:>15}" for text in texts))
    if case.measured:
        print(_explanations(alone, pack, jitter, case.measured))


def _hierarchical(gpus: int, between: allreduce.Link = _BETWEEN) -> allreduce.Cost:
    return lambda size: allreduce.hierarchical(size, gpus, _PER_NODE, _INSIDE, between)


def _times(alone: allreduce.Step, gpus: int, pack: float) -> tuple[float, float, float]:
    """Returns the step with rings, hierarchical, and hierarchical without overlap."""
    tree = _hierarchical(gpus)
    return (
        allreduce.step_time(
            alone, lambda s: allreduce.flat_ring(s, gpus, _PER_NODE, _INSIDE, _BETWEEN), pack
        ),
        allreduce.step_time(alone, tree, pack),
        allreduce.step_time(alone, tree, pack, overlap=False),
    )


def _jitter(alone: allreduce.Step, pack: float, measured: Mapping[int, float]) -> float:
    """Fits what the model leaves unexplained, as a share of the step."""
    lost = []
    for gpus, efficiency in measured.items():
        whole = allreduce.step_time(alone, _hierarchical(gpus), pack) / alone.seconds
        lost.append((gpus, 1 / efficiency - whole))
    return allreduce.fit_jitter(lost)


def _explanations(
    alone: allreduce.Step, pack: float, jitter: float, measured: Mapping[int, float]
) -> str:
    """Returns what would have to be true for the model to give the measured efficiencies."""

    def needed(gpus: int, overlap: bool) -> str:
        def efficiency(bandwidth: float) -> float:
            cost = _hierarchical(gpus, dataclasses.replace(_BETWEEN, bandwidth=bandwidth))
            return alone.seconds / allreduce.step_time(alone, cost, pack, overlap=overlap)

        found = allreduce.solve(efficiency, measured[gpus], 1e7, 1e13)
        return "no rate" if math.isnan(found) else f"{found / 1e9:.1f}"

    def over(overlap: bool) -> str:
        return ", ".join(f"{needed(gpus, overlap)} ({gpus})" for gpus in measured)

    if jitter:
        first = (
            f"  - steps of the GPUs vary by {jitter:.2%} of their time (standard deviation, "
            "fitted, normal, independent)\n"
            "    by input, clock or network, and all wait for the slowest: 'with jitter', "
            f"{_distance(alone, pack, jitter, measured):.1%} off at most\n"
        )
    else:
        first = "  - no jitter: the model is slower than the paper without any\n"
    return (
        "  to give the paper's numbers, one of these would have to be true:\n"
        f"{first}"
        f"  - with overlap, {over(True)} GB/s per GPU between nodes (number of GPUs)\n"
        f"  - without overlap, {over(False)} GB/s"
    )


def _late(alone: allreduce.Step, gpus: int, pack: float, jitter: float) -> float:
    """Returns the efficiency with all that is modelled and the fitted jitter."""
    whole = allreduce.step_time(alone, _hierarchical(gpus), pack) / alone.seconds
    return 1 / (whole + jitter * allreduce.slowest_of(gpus))


def _distance(
    alone: allreduce.Step, pack: float, jitter: float, measured: Mapping[int, float]
) -> float:
    return max(abs(_late(alone, gpus, pack, jitter) - e) for gpus, e in measured.items())


def predict_local(rows: Sequence[scaling_rows.Row]) -> None:
    """Prints what more workers like measured ones would reach.

    Calibrated by the largest number of workers: the time they lose to the all-reduce gives the
    bandwidth of a ring; it competes with the step for the same cores, so nothing overlaps.

    Args:
        rows: From `scaling`.

    Raises:
        UserError: If there are no measurements of several workers.
    """
    used = [row for row in rows if row.input == SYNTHETIC]
    most = max((row.workers for row in used), default=1)
    if most == 1:
        raise UserError("--measured holds one worker only: measure scaling --workers=1,2 first.")
    chosen = [row for row in used if row.workers == most]
    first = chosen[0]
    apart = statistics.median(row.apart for row in chosen)
    lost = statistics.median(row.team - row.apart for row in chosen)
    step = profiles.profile(first.model, first.size).step(apart)
    total = sum(step.sizes)
    print(
        f"{first.model}, {first.size} px, {first.batch} images per step and worker: "
        f"{1e3 * apart:.0f} ms of computing, {total / 1e6:.0f} MB of gradients;\n"
        f"measured: {most} workers lose {1e3 * lost:.1f} ms per step to communication"
    )
    if lost <= 0:
        print("no loss that could calibrate a model: measure again, with a smaller --batch")
        return
    link = allreduce.Link(2 * (most - 1) / most * total / lost)
    print(
        f"fitted: a ring at {link.bandwidth / 1e9:.2f} GB/s per worker (gRPC, CPU work included); "
        "assumed: no latency, no overlap, cores of its own for each worker"
    )
    for count in (1, 2, 4, 8, 16, 64):
        measured = [row.apart / row.team for row in used if row.workers == count > 1]
        cost = functools.partial(allreduce.ring, members=count, link=link)
        whole = allreduce.step_time(step, cost, 0, overlap=False)
        note = f"   measured {statistics.median(measured):.1%}" if measured else ""
        print(f"  {count:>3} workers: E {step.seconds / whole:.1%}{note}")


def run(measured: Path | None, speed: Case | None, pack_mib: int) -> None:
    """Runs the benchmark: with a csv of `scaling`, with the speed of a GPU, or the paper's."""
    if measured is not None:
        predict_local(scaling_rows.read_csv(measured))
    else:
        predict([speed] if speed else paper_cases(), pack_mib)
