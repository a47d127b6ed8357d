"""The text of a model card: facts of `card_facts` as Markdown, and how to load each file."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

from keras_transfer.core.labels import MULTICLASS, MULTILABEL
from keras_transfer.core.registry import parse_call
from keras_transfer.data import augment
from keras_transfer.training.weights import WeightsCard

_MOST_LABELS = 50  # more of them are in card.json only

_SCORES = {
    MULTICLASS: "one class per image; scores are the softmax of the logits",
    MULTILABEL: "several labels per image; scores are the sigmoid of each logit",
    "": "the meaning of the outputs is not known; there are logits only",
}

_PREPARE = """
prepare = augment.compose({eval!r})
image = prepare({{"image": tf.io.read_file("image.png")}})["image"]
"""

# Format -> what to know, and a program that a test runs.
_LOADING = {
    "savedmodel": (
        "TensorFlow alone, with the preprocessing inside. `serving_bytes` takes PNG or JPEG files "
        "of any sizes, `serving_uint8` takes decoded images uint8[B, H, W, {channels}]; names of "
        "the outputs are in `assets/labels.json`. It is for predictions: TensorFlow warns that "
        "gradients were left out.",
        """\
import tensorflow as tf

model = tf.saved_model.load("saved_model")
answer = model.serving_bytes(tf.constant([open("image.png", "rb").read()]))
print(answer["logits"].numpy())
""",
    ),
    "keras": (
        "Keras and keras_transfer, whose `models.resnetv2` must be imported first: the layers are "
        "registered there. Preprocessing is outside.",
        """\
import keras
import tensorflow as tf
from keras_transfer.data import augment
from keras_transfer.models import resnetv2  # registers the layers
"""
        + _PREPARE
        + """\
model = keras.saving.load_model("model.keras")
print(model(image[None]).numpy())
""",
    ),
    "onnx": (
        "ONNX Runtime 1.15 or later. Preprocessing is outside: `images` float32[batch, height, "
        "width, 3] as described above, here made by keras_transfer.",
        """\
import onnxruntime
import tensorflow as tf
from keras_transfer.data import augment
"""
        + _PREPARE
        + """\
session = onnxruntime.InferenceSession("model.onnx")
print(session.run(["logits"], {{"images": image.numpy()[None]}})[0])
""",
    ),
    "npz": (
        "keras_transfer; arrays are called as in the released BiT files. `model.init=` takes this "
        "directory to fine-tune on.",
        """\
import tensorflow as tf
from keras_transfer import models
from keras_transfer.data import augment
"""
        + _PREPARE
        + """\
model = models.build({arch!r}, {outputs})
models.load_npz(model, "weights.npz")
print(model(image[None]).numpy())
""",
    ),
}


def onnx_properties(card: WeightsCard) -> dict[str, str]:
    """Returns what an ONNX file says about itself."""
    return {
        "preprocessing": card.eval,
        "normalisation": card.normalisation,
        "task": card.task,
        "labels": json.dumps(card.labels),
        "source": card.source,
    }


def markdown(facts: dict[str, Any]) -> str:
    """Returns the card as a page."""
    parts = {
        f"{facts['arch']}, trained on {facts['source'].replace('>', ', then ')}": _summary(facts),
        "Input": _input(facts),
        "Output": _output(facts),
        "Results": _results(facts),
        "Training": (line for g in facts["history"] for line in _generation(g)),
        "Data": _all_data(facts),
        "Limits": (f"- {limit}" for limit in facts["limits"]),
        "Files": _files(facts),
    }
    text = ""
    for number, (title, lines) in enumerate(parts.items()):
        text += f"{'##' if number else '#'} {title}\n\n" + "\n".join(lines).strip() + "\n\n"
    return text.rstrip() + "\n"


def _summary(facts: dict[str, Any]) -> Iterator[str]:
    yield (
        f"ResNet-v2 with group normalisation and weight standardisation (BiT), {facts['arch']}, "
        f"{facts['parameters']:,} parameters in float32, {facts['outputs']} outputs"
        + (f", after {facts['step']:,} steps." if facts["step"] else ".")
    )


def _input(facts: dict[str, Any]) -> Iterator[str]:
    pipeline = augment.compose(facts["eval"])
    yield f"Preprocessing: `{pipeline.text}`, which is:\n"
    for number, call in enumerate(pipeline.text.split("|"), 1):
        function = augment.OPS.get(parse_call(call)[0]).function
        yield f"{number}. `{call}`: {(inspect.getdoc(function) or '').splitlines()[0]}"
    low, high = pipeline.value_range
    yield (
        f"\nThe network takes float32[B, H, W, 3] with values from {low:.4g} to {high:.4g}. It was "
        f"evaluated at {' x '.join(map(str, pipeline.output_size or ()))} pixels."
    )


def _output(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['outputs']} outputs: {_SCORES[facts['task']]}.\n"
    shown = facts["labels"][:_MOST_LABELS]
    if shown:
        more = len(facts["labels"]) - len(shown)
        rest = f", and {more:,} more (`card.json`)" if more else ""
        yield "In this order: " + ", ".join(shown) + rest + "."


def _results(facts: dict[str, Any]) -> Iterator[str]:
    rows = [row for row in facts["results"] if "/" not in row["metric"]]
    if not rows:
        yield "None are known."
        return
    yield "| data | split | metric | value | interval | n |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        metric = row["metric"]
        metric = f"**{metric}**" if metric == facts["primary_metric"] else metric
        interval = ""
        if "low" in row:
            interval = (
                f"{row['low']:.4f} to {row['high']:.4f} ({row['level']:.0%}, {row['method']})"
            )
        value, n = f"{row['value']:.4f}", f"{row['examples']:,}"
        yield f"| {row['target']} | {row['split']} | {metric} | {value} | {interval} | {n} |"
    if len(rows) < len(facts["results"]):
        yield "\nThose of each label are in `card.json`."


def _generation(generation: dict[str, Any]) -> Iterator[str]:
    if "weights" in generation:
        source = generation["source"] or "unknown data"
        yield f"Began with the weights {generation['weights']}, trained on {source}.\n"
        return
    config = generation["config"]
    data, train = config["data"], config["train"]
    optim, schedule = config["optim"], config["schedule"]
    shots = config.get("shots", "full")
    selection = "" if shots == "full" else f", {shots} per class"
    count = generation["train_examples"]
    names = ", ".join(entry["name"] for entry in generation["data"])
    yield f"{generation['kind'].capitalize()} on {names}, run {generation['run_id']}:\n"
    yield f"- began with: {generation['init'] or 'random weights'}; seed {config['seed']}"
    yield f"- examples: {f'{count:,}' if count else 'unknown number'}{selection}"
    yield f"- augmentation: `{data['train']}`, mixup {data['mixup']}"
    yield f"- length: {schedule['duration']} of {train['global_batch_size']} examples"
    rate = f"{optim['base_lr']:g}" + (
        f" per {optim['base_batch_size']} examples" if optim["base_batch_size"] else ""
    )
    yield (
        f"- SGD, momentum {optim['momentum']:g}, weight decay {optim['weight_decay']:g}, AGC "
        f"{optim['clipping']:g}; learning rate {rate}, schedule {schedule['name']}, warm-up "
        f"{schedule['warmup']}"
    )
    if config["model"]["freeze_until"]:
        yield f"- frozen: all up to {config['model']['freeze_until']}"
    yield f"- weights of the {train['select']} step, trained in {config['runtime']['precision']}"
    changed = " with uncommitted changes" if generation["uncommitted_changes"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in generation["packages"].items())
    yield f"- commit {generation['commit'] or 'unknown'}{changed}; {packages}\n"


def _all_data(facts: dict[str, Any]) -> Iterator[str]:
    found = {e["name"]: e for g in facts["history"] for e in g.get("data", [])}
    for name, entry in found.items():
        yield f"**{name}.** {entry.get('description', '')}\n"
        if entry.get("missing"):
            yield "- The folder was not there when this card was written.\n"
            continue
        splits = ", ".join(f"{split} {count:,}" for split, count in entry["splits"].items())
        yield f"- examples: {splits}"
        yield f"- licence: {entry.get('licence', 'not known here')}"
        if "homepage" in entry:
            yield f"- from: {entry['homepage']}"
        yield f"- fingerprint: {entry.get('fingerprint', 'none')}\n"
        if "citation" in entry:
            yield f"```bibtex\n{entry['citation'].strip()}\n```\n"
    if not found:
        yield "Nothing is known but the name above."


def _files(facts: dict[str, Any]) -> Iterator[str]:
    where = facts["verified_on"]
    yield (
        f"Each file was loaded again and its logits compared with those of the run's Keras model, "
        f"on {where['images']} images of {where['data']}:\n"
    )
    yield "| file | function | largest difference |\n|---|---|---|"
    for file in facts["files"]:
        yield f"| {file['file']} | {file['way']} | {file['largest_difference']:.2g} |"
    channels = augment.compose(facts["eval"]).pixel_channels
    for name in dict.fromkeys(f["format"] for f in facts["files"]):
        file = next(f["file"] for f in facts["files"] if f["format"] == name)
        if file.endswith(".failed"):
            yield f"\n`{file}` differs too much and must not be used."
            continue
        words, program = _LOADING[name]
        program = program.format(**facts) if "{" in program else program
        yield f"\n### {file}\n\n{words.format(channels=channels)}\n\n```python\n{program}```"
