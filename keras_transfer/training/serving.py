"""The SavedModel: a network with its preprocessing inside, loaded by TensorFlow alone."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_transfer.core.labels import MULTICLASS, MULTILABEL
from keras_transfer.data import augment

LABELS_FILE = "labels.json"


def write_saved_model(
    model: keras.Model,
    pipeline: augment.Pipeline,
    path: Path,
    *,
    task: str = "",
    labels: tuple[str, ...] = (),
) -> None:
    """Writes a SavedModel with two signatures, both for any number of images.

    * ``serving_bytes``: ``images`` string[B], PNG or JPEG files of any sizes;
    * ``serving_uint8``: ``images`` uint8[B, H, W, C], decoded images of one size, any H and W; C is
      what the string decodes to.

    Both give ``logits`` float32[B, num_classes] and, if there is a task, ``scores`` likewise. The
    names of the outputs are in ``assets/labels.json``.

    Args:
        model: From ``build``.
        pipeline: Its preprocessing; nothing of it random, its result of one size.
        path: The directory to write.
        task: ``multiclass`` (scores are the softmax of the logits), ``multilabel`` (sigmoid), or
            "" for no scores.
        labels: Names of the outputs.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LABELS_FILE
        file.write_text(json.dumps({"task": task, "labels": labels}, indent=1))
        server = _Server(model, pipeline, task, str(file))
        tf.saved_model.save(
            server,
            str(path),
            signatures={
                "serving_bytes": server.serving_bytes,
                "serving_uint8": server.serving_uint8,
            },
            # Only training needs our gradients.
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )


class _Server(tf.Module):
    """What is saved: variables, functions and a file, but no objects of Keras or of ours."""

    def __init__(self, model: keras.Model, pipeline: augment.Pipeline, task: str, labels: str):
        super().__init__()
        self.labels = tf.saved_model.Asset(labels)
        self.weights = [variable.value for variable in model.weights]
        assert pipeline.output_size is not None
        image = tf.TensorSpec([*pipeline.output_size, pipeline.channels], tf.float32)

        def answers(images: tf.Tensor) -> dict[str, tf.Tensor]:
            logits = model(images, training=False)
            if task == MULTICLASS:
                return {"logits": logits, "scores": tf.nn.softmax(logits)}
            return {"logits": logits} | (
                {"scores": tf.nn.sigmoid(logits)} if task == MULTILABEL else {}
            )

        def of_bytes(images: tf.Tensor) -> dict[str, tf.Tensor]:
            def prepare(encoded: tf.Tensor) -> tf.Tensor:
                return pipeline({"image": encoded})["image"]

            return answers(tf.map_fn(prepare, images, fn_output_signature=image))

        def of_uint8(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return answers(tf.map_fn(pipeline.on_pixels, images, fn_output_signature=image))

        pixels = [None, None, None, pipeline.pixel_channels]
        self.serving_bytes = _function(of_bytes, tf.TensorSpec([None], tf.string, "images"))
        self.serving_uint8 = _function(of_uint8, tf.TensorSpec(pixels, tf.uint8, "images"))


def _function(
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]], images: tf.TensorSpec
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    return tf.function(function, input_signature=[images], autograph=False)
