"""Names, shapes and counts of the released files; round trips; files that must be refused."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import models
from keras_transfer.core.errors import CorruptFileError, UserError

NAME = "bit-r14x0.25"
NORM = "resnet/block2/unit01/a/group_norm/gamma"
KERNEL = "resnet/block2/unit01/b/standardized_conv2d/kernel"
HEAD = "resnet/head/conv2d/kernel"


def _count(shapes, with_head=True):
    return sum(
        int(np.prod(shape)) for key, shape in shapes.items() if with_head or "/head/" not in key
    )


@pytest.mark.parametrize("name", ["R50x1", "R101x1", "R50x3", "R101x3", "R152x2", "R152x4"])
def test_parameter_counts(name, oracle, shapes_of):
    expected = json.loads((oracle / "param_counts.json").read_text())[name]
    shapes = {n: shapes_of(f"bit-{name.lower()}", n) for n in (1000, 21843)}
    assert _count(shapes[1000], with_head=False) == expected["params_classes_0"]
    assert _count(shapes[1000]) == expected["params_classes_1000"]
    assert _count(shapes[21843]) == expected["params_classes_21843"]
    assert len(shapes[1000]) == expected["npz_arrays"]
    assert sum(key.endswith("kernel") for key in shapes[1000]) == expected["kernels"]
    assert shapes[1000]["resnet/group_norm/gamma"] == (expected["feature_dim"],)


def _memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def test_counting_allocates_no_weights():
    """R152x4 has 3.5 GiB of them."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _memory("VmRSS")
    except OSError as error:
        pytest.skip(f"this system does not tell the peak memory: {error}")
    models.npz_shapes("bit-r152x4", 10)
    assert _memory("VmHWM") - before < 300_000, "kB"


def test_keys_of_the_released_file(oracle, shapes_of):
    expected = json.loads((oracle / "npz_keys_R50x1.json").read_text())
    found = shapes_of("bit-r50x1", expected["resnet/head/conv2d/bias"][0])
    assert found == {key: tuple(shape) for key, shape in expected.items()}


def test_shapes_are_those_of_a_built_model(tiny):
    assert _count(models.npz_shapes(NAME, 5)) == tiny.count_params()


@pytest.fixture
def arrays(tiny, tmp_path):
    """The arrays of a good file, to be spoiled."""
    models.save_npz(tiny, tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def model():
    return models.build(NAME, 5, seed=1)


def _assert_untouched(model):
    for variable, fresh in zip(model.weights, models.build(NAME, 5, seed=1).weights):
        np.testing.assert_array_equal(variable.numpy(), fresh.numpy())


def test_round_trip(tiny, model, arrays, images, tmp_path):
    assert {k: v.shape for k, v in arrays.items()} == models.npz_shapes(NAME, 5)
    assert {v.dtype for v in arrays.values()} == {np.dtype("float32")}
    report = models.load_npz(model, tmp_path / "good.npz")
    assert sorted(report.loaded) == sorted(arrays) and report.skipped == ()
    np.testing.assert_array_equal(model(images), tiny(images))
    models.save_npz(model, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "good.npz").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"good.npz", "again.npz"}


def test_skipped_head_stays(tiny, arrays, images, tmp_path):
    """Also where the file's head has another number of classes, or none."""
    model = models.build(NAME, 3, head_init="uniform", seed=2)
    head = [v.numpy() for v in model.get_layer("head").weights]
    report = models.load_npz(model, tmp_path / "good.npz", head="skip")
    assert sorted(report.skipped) == ["resnet/head/conv2d/bias", "resnet/head/conv2d/kernel"]
    assert len(report.loaded) == len(arrays) - 2 and "left as it is" in str(report)
    for variable, value in zip(model.get_layer("head").weights, head):
        np.testing.assert_array_equal(variable.numpy(), value)
    features = [models.feature_extractor(m)(images) for m in (model, tiny)]
    np.testing.assert_array_equal(*features)
    headless = {k: v for k, v in arrays.items() if "/head/" not in k}
    np.savez(tmp_path / "headless.npz", **headless)
    models.load_npz(model, tmp_path / "headless.npz", head="skip")


def test_counters_in_released_names_are_ignored(tiny, model, arrays, images, tmp_path):
    renamed = {
        k.replace("standardized_conv2d/", f"standardized_conv2d_{i}/"): v
        for i, (k, v) in enumerate(arrays.items())
    }
    assert renamed.keys() != arrays.keys()
    np.savez_compressed(tmp_path / "renamed.npz", **renamed)
    models.load_npz(model, tmp_path / "renamed.npz")
    np.testing.assert_array_equal(model(images), tiny(images))


def _without(arrays, *keys):
    return {k: v for k, v in arrays.items() if k not in keys}


SPOILED = {
    "missing": (lambda a: _without(a, NORM, KERNEL), ["2 missing", NORM, KERNEL]),
    "unused": (lambda a: a | {"resnet/extra": np.zeros(3)}, ["1 not used", "resnet/extra"]),
    "shape": (
        lambda a: a | {KERNEL: a[KERNEL][:, :, :5]},
        [KERNEL, "(3, 3, 5, 32)", "(3, 3, 32, 32)"],
    ),
    "classes": (lambda a: a | {HEAD: a[HEAD][..., :4]}, [HEAD, "(1, 1, 512, 4)"]),
    "all at once": (
        lambda a: _without(a, NORM) | {HEAD: a[HEAD][0], "x": np.zeros(1)},
        ["1 missing", "1 not used", "1 of another shape"],
    ),
    "integers": (lambda a: a | {NORM: a[NORM].astype(int)}, [NORM, "int64"]),
    "twice": (
        lambda a: a | {KERNEL.replace("d/kernel", "d_3/kernel"): a[KERNEL]},
        ["the same array"],
    ),
    "objects": (lambda a: a | {NORM: np.array([{}], object)}, [NORM, "never read"]),
}


@pytest.mark.parametrize("what", SPOILED)
def test_files_that_do_not_fit_are_refused(what, model, arrays, tmp_path):
    spoil, parts = SPOILED[what]
    path = tmp_path / "spoiled.npz"
    np.savez(path, **spoil(arrays))
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        models.load_npz(model, path)
    for part in ["spoiled.npz", *parts]:
        assert part in str(error.value)
    _assert_untouched(model)


class _Bomb:
    def __reduce__(self):
        return print, ("a pickle was executed",)


def _pickled(path, content):
    np.save(path, np.array([_Bomb()], object), allow_pickle=True)


def _truncated(path, content):
    path.write_bytes(content[: len(content) // 2])


def _bit_flipped(path, content):
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def _not_arrays(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for key in models.npz_shapes(NAME, 5):
            archive.writestr(f"{key}.npy", b"not an array")


def _cut_header(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{NORM}.npy", b"\x93NUMPY\x01\x00\x76\x00{'descr': ")


DAMAGE = [_pickled, _truncated, _bit_flipped, _not_arrays, _cut_header]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__.strip("_"))
def test_damaged_files_are_refused(damage, model, arrays, tmp_path, capsys):
    path = tmp_path / "damaged.npz"
    damage(
        path.with_suffix(".npy") if damage is _pickled else path,
        (tmp_path / "good.npz").read_bytes(),
    )
    if damage is _pickled:
        path.with_suffix(".npy").rename(path)
    with pytest.raises(CorruptFileError, match=r"^[^\n]*damaged\.npz[^\n]*$"):
        models.load_npz(model, path)
    assert "executed" not in capsys.readouterr().out
    _assert_untouched(model)


def test_missing_file_and_wrong_mode(model, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npz: no such file"):
        models.load_npz(model, tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match="load or skip"):
        models.load_npz(model, tmp_path / "nowhere.npz", head="keep")


def test_a_failed_write_leaves_the_old_file(tiny, tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    models.save_npz(tiny, path)
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("keras_transfer.models.npz.npy.write_array", full_disk)
    with pytest.raises(OSError, match="No space"):
        models.save_npz(tiny, path)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
