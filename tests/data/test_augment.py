"""The preprocessing string, and the contract that every registered operation keeps."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.data import augment
from keras_transfer.data.augment_ops import ENCODED, NORMALISED, OPS, PIXELS

# How to call the operations whose arguments have no defaults. The images have 40 x 52 pixels.
CALLS = {
    "resize": "resize((24, 20))",
    "resize_small": "resize_small(24)",
    "random_crop": "random_crop((24, 20))",
    "random_resized_crop": "random_resized_crop((24, 20))",
    "rand_augment": "rand_augment(2, 9)",
    "value_range": "value_range(-1, 1)",
    "standardize": "standardize('imagenet')",
}
SEEDS = np.array([[7, n] for n in range(6)], np.int32)


def _image() -> np.ndarray:
    y, x = np.mgrid[0:40, 0:52]
    noise = np.random.default_rng(0).normal(0, 8, (40, 52, 3))
    waves = np.stack([np.sin(x / 7 + y / 9), np.cos(x / 5), np.sin(y / 4 - x / 11)], axis=-1)
    return np.clip(127 + 110 * waves + noise, 0, 255).astype(np.uint8)


JPEG = tf.io.encode_jpeg(_image(), quality=95).numpy()


def _string(name: str, state: str) -> str:
    """A complete string that runs the operation on an image in the given state."""
    call, op = CALLS.get(name, name), OPS.get(name)
    before = {ENCODED: "", PIXELS: "decode|", NORMALISED: "decode|value_range(-1, 1)|"}[state]
    done = state == NORMALISED or op.gives == NORMALISED
    return before + call + ("" if done else "|value_range(-1, 1)")


CONTRACTS = [
    pytest.param(_string(name, state), OPS.get(name).is_random, id=f"{name}-{state}")
    for name in OPS.names()
    for state in OPS.get(name).accepts
]


def _eager(pipeline: augment.Pipeline, seeds: np.ndarray) -> list[np.ndarray]:
    return [pipeline({"image": tf.constant(JPEG)}, tf.constant(s))["image"].numpy() for s in seeds]


@pytest.mark.parametrize(("text", "is_random"), CONTRACTS)
def test_contract(text, is_random):
    pipeline = augment.compose(text)
    images = _eager(pipeline, SEEDS)
    assert pipeline.is_random == is_random

    # Type and shape are what the pipeline promises.
    for image in images:
        assert image.dtype == np.float32 and image.ndim == 3 and np.isfinite(image).all()
        assert image.shape[-1] == pipeline.channels
        assert pipeline.output_size in (None, image.shape[:2])

    # Seeds, and nothing but seeds, make a difference.
    tf.random.set_seed(1)
    np.random.seed(1)  # noqa: NPY002  (global state, on purpose)
    for image, again in zip(images, _eager(pipeline, SEEDS[:2])):
        np.testing.assert_array_equal(image, again)
    differs = [not np.array_equal(a, b) for a, b in itertools.pairwise(images)]
    assert any(differs) == is_random

    # Eager, graph, and a parallel tf.data map give the same numbers.
    def call(content, seed):
        result = pipeline({"image": content, "label": seed}, seed)
        assert set(result) == {"image", "label"}
        static = tuple(result["image"].shape[:2])
        assert static == (pipeline.output_size or (None, None)), static
        return result

    spec = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32)]
    graph = tf.function(call, input_signature=spec)
    examples = tf.data.Dataset.from_tensor_slices(([JPEG] * len(SEEDS), SEEDS))
    mapped = examples.map(call, num_parallel_calls=4)
    for image, seed, from_map in zip(images, SEEDS, mapped.as_numpy_iterator()):
        np.testing.assert_array_equal(graph(JPEG, seed)["image"].numpy(), image)
        np.testing.assert_array_equal(from_map["image"], image)
        np.testing.assert_array_equal(from_map["label"], seed)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" decode | value_range( low=-1.0,high = 1 )", "decode|value_range(-1, 1)"),
        (
            "decode(channels=3)|resize(size=[8.0, 9], antialias=False)|standardize('imagenet')",
            "decode|resize((8, 9))|standardize('imagenet')",
        ),
        (
            "decode()|central_crop(size=8)|random_flip(p=0.25)|standardize(0.5, 0.25)",
            "decode|central_crop(8)|random_flip(0.25)|standardize(0.5, std=0.25)",
        ),
        (
            "random_resized_crop(8, (0.5, 1.0))|rand_augment(m=9.0, n=2)|value_range(0, 1)",
            "random_resized_crop(8, area=(0.5, 1))|rand_augment(2, 9)|value_range(0, 1)",
        ),
    ],
)
def test_text_is_canonical(text, canonical):
    pipeline = augment.compose(text)
    assert pipeline.text == canonical
    assert augment.compose(canonical) == pipeline


def test_attributes():
    pipeline = augment.compose("decode|resize(32)|random_crop((24, 16))|standardize('imagenet')")
    assert pipeline.output_size == (24, 16)
    assert pipeline.channels == 3
    assert pipeline.is_random
    assert pipeline.normalisation == "standardize('imagenet')"
    # (0 - 0.485) / 0.229 and (1 - 0.406) / 0.225
    assert pipeline.value_range == pytest.approx((-2.117904, 2.64), abs=1e-5)

    pipeline = augment.compose("decode(1)|value_range(-1, 1)|central_crop")
    assert (pipeline.output_size, pipeline.channels, pipeline.is_random) == (None, 1, False)
    assert pipeline.value_range == (-1, 1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("decode|resise(8)|value_range(0, 1)", ["resise", "Did you mean 'resize'?"]),
        ("decode|resize|value_range(0, 1)", ["'size'", "resize(size: int"]),
        ("decode|resize(8, sise=8)|value_range(0, 1)", ["sise", "resize(size: int"]),
        ("decode|resize('8')|value_range(0, 1)", ["resize('8')", "resize(size: int"]),
        ("decode|resize(8, method='aera')|value_range(0, 1)", ["Did you mean 'area'?"]),
        ("decode|resize(8, 'area', antialias=True)|value_range(0, 1)", ["averages anyway"]),
        ("decode|resize_small((8, 9))|value_range(0, 1)", ["resize_small((8, 9))", "pixels"]),
        ("decode|resize(8)|random_crop(9)|value_range(0, 1)", ["random_crop(9)", "smaller"]),
        ("decode|random_flip('often')|value_range(0, 1)", ["random_flip('often')", "p: float"]),
        ("decode|random_flip(1.5)|value_range(0, 1)", ["random_flip(1.5)", "probability"]),
        ("random_resized_crop(8, area=1)|value_range(0, 1)", ["area: tuple[float, float]"]),
        ("random_resized_crop(8, area=(0.5, 2))|value_range(0, 1)", ["must not exceed 1"]),
        ("decode(2)|value_range(0, 1)", ["decode(2)", "1 or 3"]),
        ("decode(1)|rand_augment(2, 9)|value_range(0, 1)", ["rand_augment(2, 9)", "to_rgb"]),
        ("decode|rand_augment(2, 31)|value_range(0, 1)", ["rand_augment(2, 31)", "[0, 30]"]),
        ("decode|rand_augment(0, 9)|value_range(0, 1)", ["rand_augment(0, 9)", "at least 1"]),
        ("decode|random_affine(fill='wrap')|value_range(0, 1)", ["fill='wrap'", "reflect"]),
        ("decode|random_affine(scale=(0, 1))|value_range(0, 1)", ["scale must be (low, high)"]),
        ("decode|value_range(1, 0)", ["value_range(1, 0)", "less than"]),
        ("decode|standardize('imagnet')", ["Did you mean 'imagenet'?"]),
        ("decode|standardize('imagenet', 0.5)", ["leave std out"]),
        ("decode|standardize(0.5)", ["std is missing"]),
        ("decode|standardize(0.5, 0)", ["std must be positive"]),
        ("decode|standardize((0.5, 0.4), 0.2)", ["2 numbers for 3 channel"]),
        ("resize(8)|value_range(0, 1)", ["'resize(8)'", "start with decode"]),
        ("decode|decode|value_range(0, 1)", ["'decode'", "decoded already"]),
        ("decode|value_range(0, 1)|standardize(0.5, 0.5)", ["standardize", "normalised already"]),
        ("decode|value_range(0, 1)|rand_augment(2, 9)", ["rand_augment", "normalised already"]),
        ("decode|resize(8)", ["Nothing normalises", "value_range"]),
        ("decode||value_range(0, 1)", ["empty"]),
        ("", ["missing"]),
        ("decode|resize(open('x'))|value_range(0, 1)", ["Cannot read", "resize(open('x'))"]),
    ],
)
def test_errors_name_the_operation_and_what_is_wrong(text, parts):
    with pytest.raises(UserError) as error:
        augment.compose(text)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_random_pipeline_needs_a_seed():
    features = {"image": tf.constant(JPEG)}
    with pytest.raises(UserError, match="give it a seed"):
        augment.compose("decode|random_flip|value_range(0, 1)")(features)
    augment.compose("decode|value_range(0, 1)")(features)


def test_every_random_operation_has_its_own_stream():
    flip = "|random_flip"
    once, twice = (
        _eager(augment.compose(f"decode{flip * n}|value_range(0, 1)"), SEEDS) for n in (1, 2)
    )
    # Two flips that drew the same would cancel for every seed.
    plain = _eager(augment.compose("decode|value_range(0, 1)"), SEEDS[:1])[0]
    flipped = [not np.array_equal(image, plain) for image in twice]
    assert 0 < sum(flipped) < len(SEEDS)
    assert 0 < sum(not np.array_equal(a, b) for a, b in zip(once, twice)) < len(SEEDS)


def test_deterministic_operations_leave_the_streams_alone():
    plain = _eager(augment.compose("decode|random_crop(24)|value_range(0, 255)"), SEEDS)
    longer = "decode|value_range(0, 255)|to_rgb|random_crop(24)|central_crop"
    for a, b in zip(plain, _eager(augment.compose(longer), SEEDS)):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_features_are_not_changed_in_place():
    features = {"image": tf.constant(JPEG), "label": tf.constant(3)}
    result = augment.compose("decode|value_range(0, 1)")(features)
    assert features["image"].dtype == tf.string
    assert result["label"] is features["label"]


def test_a_registered_function_is_an_operation():
    @augment.register("brighten", accepts=(PIXELS,), gives=PIXELS)
    def brighten(image, seed, *, most=10):
        return tf.cast(image, tf.float32) + most * tf.random.stateless_uniform([], seed)

    try:
        pipeline = augment.compose("decode|brighten(20)|value_range(0, 255)")
        plain = _eager(augment.compose("decode|value_range(0, 255)"), SEEDS[:1])[0]
        added = [np.mean(image - plain) for image in _eager(pipeline, SEEDS)]
    finally:
        del OPS._entries["brighten"]
    assert pipeline.is_random and pipeline.text == "decode|brighten(20)|value_range(0, 255)"
    assert 0 <= min(added) < max(added) <= 20


def test_corrupt_bytes_are_an_error_of_the_step():
    for text in ("decode|value_range(0, 1)", "random_resized_crop(8)|value_range(0, 1)"):
        for content in (b"", b"no image", JPEG[:200]):
            with pytest.raises(tf.errors.InvalidArgumentError):
                augment.compose(text)({"image": tf.constant(content)}, tf.constant([0, 0]))
