"""Which devices and workers a run uses: from the launcher's variables to the strategy.

`start` comes before anything else of TensorFlow: it finds out how many workers there are, meets the
others, and makes the one strategy over all of them that a process can have.
"""

import contextlib
import faulthandler
import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from keras_transfer.core.config import RuntimeConfig
from keras_transfer.core.errors import UserError, WorkerLost
from keras_transfer.training import launchers, rendezvous

# TensorFlow itself would wait for an hour, in silence. KT_START_SECONDS changes it.
_START_SECONDS = 300
# The default of ``runtime.pack_mib``. Where gRPC carries them, workers wait for each other's large
# packs.
PACK_MIB = {"NCCL": 32, "RING": 4}
_NETWORK_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


@dataclass(frozen=True, slots=True)
class Team:
    """The workers of a run.

    Attributes:
        rank: Of this process; 0 is the chief, who alone writes files.
        addresses: host:port of all of them, by rank; empty for a single process.
    """

    rank: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of workers."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0


# What a process is part of: its devices can be started for one set of workers, once.
_joined: list[tuple[Team, tf.distribute.Strategy]] = []


def team() -> Team:
    """Returns the workers that `start` has met; before it, a process is alone."""
    return _joined[0][0] if _joined else Team()


def start(runtime: RuntimeConfig) -> Team:
    """Meets the other workers, if there are any, and makes the strategy over all of them.

    Raises:
        UserError: If the launcher's variables make no sense, or a worker does not come, by name.
    """
    if not _joined:
        place = launchers.detect(os.environ)
        configure(runtime)
        if place.size > 1:
            _joined.append(_join(place, runtime))
    return team()


def wait_for_all() -> None:
    """Returns when all workers have called it, or when one has gone; to be called before leaving.

    Who leaves at once takes with it what others may still have to fetch from it: the result of the
    last sum, which they had in common.
    """
    if not _joined:
        return
    used = _joined[0][1]

    @tf.function(autograph=False)
    def meet() -> tf.Tensor:
        each = used.run(lambda: tf.ones([], tf.int32))
        return used.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    # One that has gone had come so far: nothing is missing.
    with contextlib.suppress(tf.errors.OpError):
        meet()


def _join(place: launchers.Place, runtime: RuntimeConfig) -> tuple[Team, tf.distribute.Strategy]:
    """Meets the others and starts TensorFlow's side of it."""
    logging.info("%s", launchers.describe(place))
    seconds = float(os.environ.get("KT_START_SECONDS", _START_SECONDS))
    try:
        met = rendezvous.join(place, _facts(), timeout=seconds)
    except rendezvous.RendezvousTimeout as late:
        raise WorkerLost(str(late)) from None  # another start, on other nodes, may help
    rendezvous.configure(met)
    logging.info("worker %d of %d: %s", met.rank, len(met.addresses), ", ".join(met.addresses))
    # TensorFlow's constructor holds the interpreter: only a thread of C can end a wait in it.
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        made = _over_workers(runtime)
    finally:
        faulthandler.cancel_dump_traceback_later()
        met.close()
    return Team(met.rank, tuple(met.addresses)), made


def _facts() -> dict[str, str]:
    """Returns what has to be the same on all workers."""
    return {
        "command": " ".join(sys.argv[1:]),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "GPUs": str(len(tf.config.list_physical_devices("GPU"))),
    }


def strategy(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    """Returns the strategy over all workers, or over the local devices of a single process.

    Args:
        runtime: ``replicas`` devices of each worker are used; 0 is every GPU, or one CPU device.

    Raises:
        UserError: If there are fewer devices than asked for.
    """
    if _joined:
        return _joined[0][1]
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    wanted = runtime.replicas or (len(gpus) or 1)
    if wanted > len(devices):
        raise UserError(
            f"runtime.replicas is {wanted}, but this machine shows {len(devices)} "
            f"{devices[0].device_type} device(s)."
        )
    return _over(tuple(device.name for device in devices[:wanted]))


@functools.cache
def _over(names: tuple[str, ...]) -> tf.distribute.Strategy:
    """One strategy per set of devices and process.

    A second MirroredStrategy over the same devices numbers its collectives from the start again and
    meets those of the first: "Shape mismatch in the collective instance" (TensorFlow 2.21).
    """
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    # For the same reason no collectives on CPU devices, which gain nothing from them: a process
    # may hold strategies that are not ours.
    on_cpu = tf.DeviceSpec.from_string(names[0]).device_type == "CPU"
    sums = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return tf.distribute.MirroredStrategy(names, cross_device_ops=sums)


def _over_workers(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    """Makes the strategy over all workers; a process can make it once, before any computation."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus and runtime.replicas not in (0, gpus):
        raise UserError(
            f"runtime.replicas is {runtime.replicas}, but every worker uses all of the {gpus} GPUs "
            "that it sees: leave it 0 and let the launcher give each worker its GPUs."
        )
    kind = tf.distribute.experimental.CommunicationImplementation
    # AUTO would be a ring through the hosts even between GPUs (spec/cluster.md section 5).
    kinds = {"auto": "NCCL" if gpus else "RING", "nccl": "NCCL", "ring": "RING"}
    chosen = kind[kinds[runtime.collective]]
    pack_mib = PACK_MIB[chosen.name] if runtime.pack_mib is None else runtime.pack_mib
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=pack_mib * 2**20, implementation=chosen
    )
    with _cpu_devices(0 if gpus else runtime.replicas):
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


@contextlib.contextmanager
def _cpu_devices(count: int) -> Iterator[None]:
    """Lets the strategy use several CPU devices of this process; TensorFlow offers it only GPUs.

    For tests and for trying things out: nothing becomes faster by it.
    """
    if count <= 1:
        yield
        return
    from tensorflow.python.distribute import collective_all_reduce_strategy as internal

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * count
    )
    extended = internal.CollectiveAllReduceExtended
    original = extended._initialize_local_devices

    def several(self: Any, resolver: Any, worker: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker}/device:CPU:{i}" for i in range(count)), "CPU"

    extended._initialize_local_devices = several
    try:
        yield
    finally:
        extended._initialize_local_devices = original


def configure(runtime: RuntimeConfig) -> None:
    """Applies the process-wide settings of a run: determinism, memory growth, precision.

    Called by the verbs before anything is built; with equal settings, calling again does nothing.
    """
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
        # TensorFlow demands a global seed then, though no op here draws from it.
        tf.random.set_seed(0)
    keras.mixed_precision.set_global_policy(runtime.precision)
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the device is in use already: it keeps the setting it has
            return


def describe(used: tf.distribute.Strategy) -> str:
    """Returns the devices of a strategy in words, for the start of a log."""
    devices = used.extended.worker_devices
    kind = tf.DeviceSpec.from_string(devices[0]).device_type
    workers = team().size
    processes = "one process" if workers == 1 else f"{workers} workers"
    return f"{used.num_replicas_in_sync} replica(s) on {kind}, {processes}"


def lost(error: tf.errors.OpError) -> WorkerLost | None:
    """Returns what an error of the network means for the run; None if it means something else.

    TensorFlow ends the step on all workers when one of them is gone, within 0.1 s of a kill and
    about 10 s of a stop (measured); none of them can go on in this process.
    """
    if team().size == 1 or not isinstance(error, _NETWORK_ERRORS):
        return None
    found = re.findall(r"/job:\w+/(?:replica:\d+/)?task:(\d+)", str(error))
    named = sorted({int(number) for number in found})
    who = ", ".join(f"{n} ({team().addresses[n]})" for n in named if n != team().rank) or "unknown"
    causes = re.findall(r"[^\n]*(?:aborted by|unhealthy|timed out|Socket closed)[^\n]*", str(error))
    cause = " ".join((causes or [str(error)])[0].split())
    return WorkerLost(
        f"Worker {team().rank} of {team().size} stops, for another one is lost (perhaps {who}; its "
        f"own log says why): {cause[:200]}"
    )
