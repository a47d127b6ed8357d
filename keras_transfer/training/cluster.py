"""Which devices a run uses: the strategy, from the runtime config and the machine."""

import functools

import keras
import tensorflow as tf

from keras_transfer.core.config import RuntimeConfig
from keras_transfer.core.errors import UserError


def strategy(runtime: RuntimeConfig) -> tf.distribute.Strategy:
    """Returns a strategy over the local devices.

    Args:
        runtime: ``replicas`` devices are used; 0 is every GPU, or one CPU device.

    Raises:
        UserError: If there are fewer devices than asked for.
    """
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
    return f"{used.num_replicas_in_sync} replica(s) on {kind}, one process"
