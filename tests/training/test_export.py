"""Weights out: every format gives the run's logits, to whoever has only what the card asks for."""

import dataclasses
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import models, training
from keras_transfer.core import runs
from keras_transfer.core.config import PretrainConfig
from keras_transfer.core.errors import UserError
from keras_transfer.data import augment
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.pipeline import Examples
from keras_transfer.evaluation.rows import Row
from keras_transfer.training import card_facts, weights
from keras_transfer.training import export as library
from keras_transfer.training.conversion import Facts, convert
from tests.training.conftest import small

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("keras", "savedmodel", "npz")

# Colour, a JPEG, and no two of one size.
SIDES = ((8, 8), (40, 23), (31, 64))

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")),
    reason="the extra is missing: pip install 'keras_transfer[onnx]'",
)


@pytest.fixture(scope="module")
def run_dir(digits, engines, tmp_path_factory):
    """A run with intervals, whose network is not at its initial values."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = small(PretrainConfig, digits, data__test_split="test", model__head_init="uniform")
    training.pretrain(config, folder, engines=engines)
    row = Row(metric="accuracy", value=0.5, low=0.4321, high=0.5678, n=9, clusters=9, method="bca")
    rows = [dataclasses.asdict(r) for r in (row, dataclasses.replace(row, group="sex=F", low=0.0))]
    runs.write_json(folder / "measures.json", {"split": "test", "level": 0.95, "measures": rows})
    return folder


@pytest.fixture(scope="module")
def done(run_dir, tmp_path_factory):
    """The directory, and what was compared."""
    out = tmp_path_factory.mktemp("out") / "tiny"
    return out, training.export_run(run_dir, out, FORMATS)


@pytest.fixture(scope="module")
def images():
    """Encoded images of several sizes and kinds."""
    encoded = []
    for number, (side, kind) in enumerate(zip(SIDES, ("PNG", "JPEG", "PNG"))):
        pixels = np.random.default_rng(number).integers(0, 256, (*side, 3), np.uint8)
        Image.fromarray(pixels).save(file := io.BytesIO(), kind)
        encoded.append(file.getvalue())
    return encoded


def _logits(run_dir, images):
    """The run's answer by nothing but its weights and its string."""
    card = weights.read_card(run_dir)
    model = models.build(card.arch, len(card.labels))
    models.load_npz(model, run_dir / runs.WEIGHTS_FILE)
    prepare = augment.compose(card.eval)
    return model(tf.stack([prepare({"image": image})["image"] for image in images])).numpy()


def _programs(out):
    text = (out / "MODEL_CARD.md").read_text()
    return dict(re.findall(r"### (\S+)\n.*?```python\n(.*?)```", text, re.DOTALL))


def test_every_file_is_compared_on_real_images(done):
    out, found = done
    assert {(v.file, v.way) for v in found} == {
        ("model.keras", "model"),
        ("saved_model", "serving_bytes"),
        ("saved_model", "serving_uint8"),
        ("weights.npz", "model"),
    }
    assert all(v.passed and v.difference <= 1e-4 and v.num_images == 20 for v in found)
    assert {path.name for path in out.iterdir()} == {
        "model.keras",
        "saved_model",
        "weights.npz",
        "weights.json",
        "card.json",
        "MODEL_CARD.md",
    }


_ALONE = """
import json, sys

for name in ("keras", "keras_transfer"):
    sys.modules[name] = None  # an import of it fails
exec(programs["saved_model"])
import numpy as np

found = {"card": answer["logits"].numpy().tolist()}
encoded = [open(name, "rb").read() for name in names]
for batch in (1, 3):
    answer = model.signatures["serving_bytes"](images=tf.constant(encoded[:batch]))
    for name, values in answer.items():
        found[f"bytes{batch}/{name}"] = values.numpy().tolist()
pixels = [tf.io.decode_jpeg(e, 3, dct_method="INTEGER_ACCURATE")[None] for e in encoded]
found["uint8"] = np.concatenate([model.serving_uint8(p)["logits"] for p in pixels]).tolist()
found["twice"] = model.serving_uint8(tf.repeat(pixels[1], 2, 0))["logits"].numpy().tolist()
assert not any(name.startswith("keras") for name, module in sys.modules.items() if module)
for name in ("keras", "keras_transfer"):
    del sys.modules[name]
scope = {}
exec(programs["model.keras"], scope)
found["keras"] = scope["model"](scope["image"][None]).numpy().tolist()
print("found", json.dumps(found))
"""


def test_the_card_says_how_to_load_by_others(done, run_dir, images):
    """One process: TensorFlow without Keras and us first, then with a fresh registry of layers."""
    out, _ = done
    names = [str(out.parent / f"{number}.png") for number in range(len(images))]
    for name, image in zip(names, images):
        Path(name).write_bytes(image)
    (out / "image.png").write_bytes(images[0])
    code = f"programs = {_programs(out)!r}\nnames = {names!r}\n{_ALONE}"
    command = [sys.executable, "-c", code]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    ended = subprocess.run(command, cwd=out, env=env, capture_output=True, text=True, timeout=300)
    (out / "image.png").unlink()
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.split("found ")[1])
    expected = _logits(run_dir, images)
    for name, count in (("card", 1), ("keras", 1), ("bytes1/logits", 1), ("bytes3/logits", 3)):
        np.testing.assert_allclose(found[name], expected[:count], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["uint8"], expected, atol=1e-5)
    np.testing.assert_allclose(found["twice"], expected[[1, 1]], atol=1e-5)
    softmax = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(found["bytes3/scores"], softmax, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the images must differ for the test to tell"


def test_the_card_says_how_to_load_npz(done, run_dir, images, tmp_path, monkeypatch):
    out, _ = done
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.npz").symlink_to(out / "weights.npz")
    (tmp_path / "image.png").write_bytes(images[2])
    scope: dict = {}
    exec(_programs(out)["weights.npz"], scope)
    logits = scope["model"](scope["image"][None])
    np.testing.assert_allclose(logits, _logits(run_dir, images[2:]), atol=1e-5)


def test_names_of_the_outputs_travel_with_the_saved_model(done):
    labels = json.loads((done[0] / "saved_model" / "assets" / "labels.json").read_text())
    assert labels == {"task": "multiclass", "labels": list("01234")}


def test_the_card_states_what_the_run_knows(done, run_dir, digits):
    out, _ = done
    text, facts = (out / "MODEL_CARD.md").read_text(), runs.read_json(out / "card.json")
    rows, _ = runs.read_result(run_dir)
    test = next(r for r in rows if (r.split, r.metric) == ("test", "accuracy"))
    manifest = runs.read_json(run_dir / runs.MANIFEST_FILE)
    for words in (
        "| digits/classes_0-4 | test | **accuracy** | "
        f"{test.value:.4f} | 0.4321 to 0.5678 (95%, bca) | {test.num_examples} |",
        "licence: CC BY 4.0",
        "@misc{alpaydin1998optical",
        "`decode|resize(32)|value_range(-1, 1)`",
        "In this order: 0, 1, 2, 3, 4.",
        "6 steps",
        manifest["starts"][0]["code"].get("commit", "unknown"),
        f"20 images of {Dataset(digits).name}, split test",
    ):
        assert words in text, words
    assert "medical" not in text and "no intervals" not in text
    assert facts["parameters"] == models.build("bit-r14x0.25", 5).count_params()
    assert {row["metric"] for row in facts["results"]} == {row.metric for row in rows}
    published = text + json.dumps(facts)
    for private in (str(run_dir.parent), digits, manifest["starts"][0]["host"]):
        assert private not in published


def test_a_file_that_differs_is_called_so(run_dir, tmp_path):
    """By the public command, with a comparison that nothing can pass."""
    out = tmp_path / "out"
    code = (
        "import sys; from keras_transfer.training import export as library\n"
        "library.TOLERANCE = -1.0\n"
        "from experiments import _main, export\n"
        f"sys.argv = ['export', '--run={run_dir}', '--out={out}', '--formats=npz']\n"
        "_main.run(export.main)"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2, ended.stderr[-3000:]
    last = ended.stderr.strip().splitlines()[-1]
    assert last == f"error: {out}: not equal to the run, do not use: weights.npz.failed."
    assert re.search(r"weights.npz.failed +model +0\n", ended.stdout)
    names = {"weights.npz.failed", "card.json", "MODEL_CARD.md"}
    assert {path.name for path in out.iterdir()} == names
    text = (out / "MODEL_CARD.md").read_text()
    assert "`weights.npz.failed` differs too much" in text and "```python" not in text


@pytest.fixture(scope="module")
def grey(run_dir, tmp_path_factory):
    """Weights that no run here has made, for several findings in grey images."""
    folder = tmp_path_factory.mktemp("weights")
    facts = Facts(source="films of others", eval="decode(1)|resize(32)|to_rgb|value_range(-1, 1)")
    facts = dataclasses.replace(facts, task="multilabel", labels=tuple("vwxyz"))
    source = folder / "x.npz"
    source.write_bytes((run_dir / runs.WEIGHTS_FILE).read_bytes())
    convert(source, folder / "whole", facts)
    convert(source, folder / "bare", Facts(source="x", normalisation="value_range(-1, 1)"))
    return folder


def test_weights_of_others_with_several_labels_in_grey(grey, digits, tmp_path):
    found = training.export_run(grey / "whole", tmp_path / "out", ("savedmodel",), data=digits)
    assert all(v.passed for v in found) and len(found) == 2
    model = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    encoded = Examples([Dataset(digits)], "test").image(0)
    answer = model.serving_bytes(tf.constant([encoded]))
    np.testing.assert_allclose(answer["scores"], 1 / (1 + np.exp(-answer["logits"])), atol=1e-6)
    pixels = tf.io.decode_png(encoded, channels=1)[None]
    np.testing.assert_allclose(model.serving_uint8(pixels)["logits"], answer["logits"], atol=1e-6)
    text = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    for words in ("No results are known", "films of others", "uint8[B, H, W, 1]", "sigmoid"):
        assert words in text, words


@pytest.mark.parametrize(
    ("run", "formats", "message"),
    [
        ("whole", ("keras", "tflite"), "Unknown format 'tflite'"),
        ("whole", ("npz", "npz"), "Name each format once: keras, savedmodel, onnx, npz"),
        ("whole", ("npz",), "is no run, so it names no images: give --data=DIR"),
        ("bare", ("npz",), "does not say how images are prepared"),
        ("nowhere", ("npz",), r"holds no weights.npz; has the run finished\?"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(grey, run, formats, message, tmp_path):
    with pytest.raises(UserError, match=message):
        training.export_run(grey / run, tmp_path / "out", formats)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(run_dir, tmp_path, monkeypatch):
    npz = dataclasses.replace(library.FORMATS["npz"], needs=("no_such_package",))
    monkeypatch.setitem(library.FORMATS, "npz", npz)
    with pytest.raises(UserError, match=r"npz needs no_such_package: pip install .*\[npz\]"):
        training.export_run(run_dir, tmp_path / "out", ("npz",))


def test_the_card_names_ancestors_and_what_the_choice_spoils(run_dir, tmp_path):
    """Of the run itself, told to have begun with another whose folder is gone."""
    child = tmp_path / "child"
    shutil.copytree(run_dir, child)
    config = runs.read_config(child)
    config.train.select, config.model.init = "best", str(tmp_path / "gone")
    runs.write_config(child, config)
    model = models.build("bit-r14x0.25", 5)
    facts = card_facts.collect(child, model)
    assert "The step was chosen on the split val: its results are too good." in facts["limits"]
    assert facts["history"][1:] == [{"weights": "gone", "source": ""}]
    config.model.init = str(run_dir)
    runs.write_config(child, config)
    (parent,) = card_facts.collect(child, model)["history"][1:]
    assert parent["data"][0]["licence"] == "CC BY 4.0" and parent["kind"] == "pre-training"


def test_nothing_is_written_over(done, run_dir):
    with pytest.raises(UserError, match="exists: choose another directory"):
        training.export_run(run_dir, done[0], ("npz",))


def test_pixels_skip_the_decoding_only(images):
    pipeline = augment.compose("decode|resize(16)|value_range(-1, 1)")
    pixels = tf.io.decode_png(images[0], channels=3)
    expected = pipeline({"image": images[0]})["image"]
    np.testing.assert_array_equal(pipeline.on_pixels(pixels), expected)
    with pytest.raises(UserError, match="is random: it takes encoded images only"):
        augment.compose("random_resized_crop(16)|value_range(-1, 1)").on_pixels(pixels)


@needs_onnx
def test_onnx_equals_at_any_size(run_dir, images, tmp_path, monkeypatch):
    """Beyond the run's own images: several sizes, with weights inside and beside the graph."""
    import onnxruntime

    from keras_transfer.models import onnx_graph

    (found,) = training.export_run(run_dir, tmp_path / "out", ("onnx",))
    assert found.file == "model.onnx" and found.passed and found.num_images == 20
    monkeypatch.chdir(tmp_path / "out")
    Path("image.png").write_bytes(images[0])
    scope: dict = {}
    exec(_programs(tmp_path / "out")["model.onnx"], scope)
    (logits,) = scope["session"].run(["logits"], {"images": scope["image"].numpy()[None]})
    np.testing.assert_allclose(logits, _logits(run_dir, images[:1]), atol=1e-5)
    assert json.loads(scope["session"].get_modelmeta().custom_metadata_map["labels"]) == [*"01234"]

    model = models.build("bit-r26x0.25", 7, head_init="uniform")
    for number, variable in enumerate(v for v in model.weights if v.name in ("gamma", "beta")):
        noise = np.random.default_rng(number).normal(0, 0.3, variable.shape)
        variable.assign_add(noise.astype(np.float32))
    beside = tmp_path / "beside.onnx"
    monkeypatch.setattr(onnx_graph, "_MOST_BYTES", 1000)
    onnx_graph.write_onnx(model, beside, task="multilabel")
    assert beside.stat().st_size < Path(f"{beside}.data").stat().st_size
    session = onnxruntime.InferenceSession(str(beside))
    for batch, height, width in ((1, 32, 32), (3, 33, 47), (2, 64, 50)):
        inputs = np.random.default_rng(0).uniform(-1, 1, (batch, height, width, 3))
        inputs = inputs.astype(np.float32)
        logits, scores = session.run(None, {"images": inputs})
        np.testing.assert_allclose(logits, model(inputs), atol=1e-4)
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)
