"""The ONNX graph of a network, written node by node with the ``onnx`` package.

Why not by the converter tf2onnx (1.17): ONNX Runtime (1.31) folds the zeros padded around the
root's pooling into the pool, where padding counts as minus infinity: logits of 0.5 of a converted
network are off by 0.01. The way through a GraphDef ends at 2 GB, which BiT's R152x4 exceeds. And
it took half a minute where this takes two seconds.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

from keras_transfer import __version__
from keras_transfer.core.labels import MULTICLASS, MULTILABEL
from keras_transfer.models import heads, layers, resnetv2

OPSET = 18  # ONNX Runtime 1.15 and later, where Python 3.11 begins
_IR_VERSION = 8  # of the same age

# Above it, weights lie in a file beside the graph: a protocol buffer ends at 2 GiB.
_MOST_BYTES = 2**31 - 2**24

_LOWEST = np.finfo(np.float32).min


def write_onnx(
    model: keras.Model, path: Path, *, task: str = "", properties: dict[str, str] | None = None
) -> None:
    """Writes a network: ``images`` float32[batch, height, width, 3] -> ``logits``, ``scores``.

    All three sizes are free. Kernels are stored standardised. Networks of more than 2 GiB have
    their weights in ``<name>.data`` beside the graph.

    Args:
        model: From ``build``.
        path: The file to write.
        task: ``multiclass`` (scores are the softmax of the logits), ``multilabel`` (sigmoid), or
            "" for no scores.
        properties: Texts to store as metadata.
    """
    graph = _Graph()
    x = graph.add("Transpose", "images", perm=(0, 3, 1, 2))
    x = _root(graph, x, model.get_layer("root_block"))
    for block in (layer for layer in model.layers if isinstance(layer, resnetv2.Block)):
        for unit in block.units:
            x = _unit(graph, x, unit)
    x = _norm(graph, x, model.get_layer("group_norm"))
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    head = model.get_layer(heads.HEAD)
    kernel, bias = graph.constant(head.kernel.numpy()), graph.constant(head.bias.numpy())
    graph.add("Gemm", x, kernel, bias, output="logits")
    outputs = {"logits": head.units}
    if task in (MULTICLASS, MULTILABEL):
        options = {"axis": -1} if task == MULTICLASS else {}
        operation = "Softmax" if task == MULTICLASS else "Sigmoid"
        graph.add(operation, "logits", output="scores", **options)
        outputs["scores"] = head.units
    _save(graph, model.name, outputs, path, properties or {})


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.num_bytes = 0

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        output = output or f"{operation}_{len(self.nodes)}"
        node = helper.make_node(operation, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: np.ndarray) -> str:
        """Adds a constant; returns its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self.num_bytes += value.nbytes
        return name


def _root(graph: _Graph, x: str, root: resnetv2.Root) -> str:
    x = _convolve(graph, x, root.conv)
    pads = graph.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    x = graph.add("Pad", x, pads)
    # It changes nothing, but keeps Pad and MaxPool apart: see the head of this file.
    x = graph.add("Max", x, graph.constant(np.array(_LOWEST)))
    return graph.add("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2))


def _unit(graph: _Graph, x: str, unit: resnetv2.Unit) -> str:
    h = _norm(graph, x, unit.norm_a)
    shortcut = x if unit.proj is None else _convolve(graph, h, unit.proj)
    h = _norm(graph, _convolve(graph, h, unit.conv_a), unit.norm_b)
    h = _norm(graph, _convolve(graph, h, unit.conv_b), unit.norm_c)
    return graph.add("Add", _convolve(graph, h, unit.conv_c), shortcut)


def _convolve(graph: _Graph, x: str, layer: layers.StandardizedConv2D) -> str:
    kernel = layers.standardize_kernel(tf.convert_to_tensor(layer.kernel)).numpy()
    size, strides = layer.kernel_size, layer.strides
    return graph.add(
        "Conv",
        x,
        graph.constant(kernel.transpose(3, 2, 0, 1)),
        kernel_shape=(size, size),
        strides=(strides, strides),
        pads=(size // 2,) * 4,
    )


def _norm(graph: _Graph, x: str, layer: layers.GroupNormReLU) -> str:
    """The groups of [N, C, H, W] are the instances of [N, groups, -1]."""
    shape = graph.add("Shape", x)
    grouped = graph.constant(np.array([0, layer.groups, -1], np.int64))
    ones, zeros = np.ones(layer.groups, np.float32), np.zeros(layer.groups, np.float32)
    x = graph.add(
        "InstanceNormalization",
        graph.add("Reshape", x, grouped),
        graph.constant(ones),
        graph.constant(zeros),
        epsilon=layers.NORM_EPSILON,
    )
    x = graph.add("Reshape", x, shape)
    x = graph.add("Mul", x, graph.constant(layer.gamma.numpy().reshape(-1, 1, 1)))
    x = graph.add("Add", x, graph.constant(layer.beta.numpy().reshape(-1, 1, 1)))
    return graph.add("Relu", x)


def _save(
    graph: _Graph, name: str, outputs: dict[str, int], path: Path, properties: dict[str, str]
) -> None:
    def declare(tensor: str, shape: tuple[str | int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape)

    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [declare("images", ("batch", "height", "width", 3))],
            [declare(tensor, ("batch", size)) for tensor, size in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="keras_transfer",
        producer_version=__version__,
    )
    helper.set_model_props(proto, properties)
    beside = graph.num_bytes > _MOST_BYTES
    onnx.save_model(proto, str(path), save_as_external_data=beside, location=f"{path.name}.data")
    onnx.checker.check_model(str(path), full_check=True)
