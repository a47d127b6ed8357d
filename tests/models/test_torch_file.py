"""Checkpoints of the real ``torch.save``; files that must not be read, or not be believed."""

import gzip
import io
import os
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import models
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.models import arrays, torch_file, torch_names, torch_pickle

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "torch"
NETWORKS = ("pretrained.pth.tar", "finetuned.pth.tar", "half.pth")
BOTH_FORMATS = NETWORKS[:2]
NAME = "bit-r14x0.03125"


def _golden(name: str) -> bytes:
    return gzip.decompress((GOLDEN / f"{name}.gz").read_bytes())


@pytest.fixture
def file(tmp_path):
    """Returns a function (content) -> path of a file that holds it."""

    def write(content: bytes) -> Path:
        path = tmp_path / "model.pth.tar"
        path.write_bytes(content)
        return path

    return write


def _read_all(path):
    """Everything that a conversion reads of a file."""
    with arrays.open_arrays(path) as found:
        arrays.recognise(found.shapes, path)
        return {key: found.read(key) for key in found.shapes}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_pytorch(name, file, tmp_path):
    path = file(_golden(name))
    with arrays.open_arrays(path) as found:
        assert arrays.recognise(found.shapes, path) == (NAME, 5)
        dtype = {found.dtype(key) for key in found.shapes}
        assert dtype == {np.dtype("f2" if name == "half.pth" else "f4")}
        models.write_arrays(tmp_path / "w.npz", ((k, found.read(k)) for k in found.shapes))
    model = models.build(NAME, 5, seed=3)
    models.load_npz(model, tmp_path / "w.npz")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 37, 50, 3)).astype(np.float32)
    expected = np.load(GOLDEN / "logits.npz")["logits"]
    np.testing.assert_allclose(model(images), expected, atol=2e-5)


def test_the_files_hold_the_same_network(file):
    first, second, half = (_read_all(file(_golden(name))) for name in NETWORKS)
    assert first.keys() == second.keys() == half.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
        np.testing.assert_array_equal(value, half[key].astype(np.float32))


@pytest.mark.parametrize("name", ["tensors.pth", "tensors_legacy.pth"])
def test_types_and_layouts(name, file):
    expected = np.load(GOLDEN / "tensors.npz")
    with torch_file.open_torch(file(_golden(name))) as found:
        read = {key: found.read(tensor) for key, tensor in found.content.items()}
    assert read.keys() == set(expected.files)
    for key, value in read.items():
        np.testing.assert_array_equal(value.astype(np.float64), expected[key], key)
        assert value.shape == expected[key].shape and value.flags.c_contiguous
    for key in ("float16", "bfloat16", "float32", "float64", "int64", "bool"):
        assert str(read[key].dtype) == key


def _storages(path, entry):
    with torch_file.open_torch(path) as found:
        state = found.content[entry]
        if entry == "model":
            return [found._regions[t.storage.key] for t in state.values()]
        momenta = [s["momentum_buffer"] for s in state["state"].values()]
        return [found._regions[t.storage.key] for t in momenta]


def test_momentum_is_not_read(file):
    """Damage in the optimiser's half of the file is not met; in the model's it is."""
    content = bytearray(_golden("pretrained.pth.tar"))
    path = file(bytes(content))
    good = _read_all(path)
    regions = {entry: _storages(path, entry) for entry in ("model", "optimizer")}
    assert len(regions["optimizer"]) == len(regions["model"]) == len(good)
    for start, size, _ in regions["optimizer"]:
        content[start : start + size] = b"\xff" * size
    for key, value in _read_all(file(bytes(content))).items():
        np.testing.assert_array_equal(value, good[key])
    content[regions["model"][3].start] ^= 1
    with pytest.raises(CorruptFileError, match=r"model\.pth\.tar: the storage \d+ is damaged"):
        _read_all(file(bytes(content)))


# Names.


@pytest.mark.parametrize(
    "torch_name, key",
    [
        ("root.conv.weight", "root_block/standardized_conv2d/kernel"),
        ("body.block1.unit01.gn1.weight", "block1/unit01/a/group_norm/gamma"),
        ("body.block4.unit36.gn3.bias", "block4/unit36/c/group_norm/beta"),
        ("body.block2.unit08.conv2.weight", "block2/unit08/b/standardized_conv2d/kernel"),
        ("body.block3.unit01.downsample.weight", "block3/unit01/a/proj/standardized_conv2d/kernel"),
        ("head.gn.bias", "group_norm/beta"),
        ("head.conv.bias", "head/conv2d/bias"),
    ],
)
def test_names(torch_name, key):
    assert torch_names.npz_key(torch_name) == f"resnet/{key}"


@pytest.mark.parametrize(
    "name",
    [
        "layer1.0.conv1.weight",
        "body.block1.unit01.conv1.bias",
        "body.block1.unit01.gn.weight",
        "body.block1.unit01.downsample2.weight",
        "body.block1.unit01.downsample.bias",
    ],
)
def test_names_of_other_networks_stay(name):
    assert torch_names.npz_key(name) == name


@pytest.mark.parametrize("name", ["bit-r50x1", "bit-r152x4"])
def test_networks_are_recognised(name, shapes_of):
    """The 10,000 outputs of the authors' R152x4 on ImageNet-1k come from the file."""
    assert arrays.recognise(shapes_of(name, 10_000), Path("x")) == (name, 10_000)


KERNEL = "resnet/block2/unit01/b/standardized_conv2d/kernel"


@pytest.mark.parametrize(
    "spoil, parts",
    [
        (lambda s: s | {KERNEL: (3, 3, 4, 5)}, ["1 of another shape", KERNEL, "(3, 3, 4, 5)"]),
        (lambda s: {k: v for k, v in s.items() if k != KERNEL}, ["1 missing", KERNEL]),
        (lambda s: s | {"fc.weight": (5, 64)}, ["1 not used: fc.weight"]),
        (
            lambda s: s | {"resnet/block1/unit02/a/x": (1,)},
            ["[2, 1, 1, 1]", "bit-r50 [3, 4, 6, 3]"],
        ),
        (lambda s: {"fc.weight": (5, 64)}, ["not a BiT ResNet", "fc.weight"]),
        (lambda s: {}, ["not a BiT ResNet"]),
    ],
)
def test_arrays_of_another_network(spoil, parts, shapes_of):
    with pytest.raises(UserError, match=r"^[^\n]*model\.pth[^\n]*$") as error:
        arrays.recognise(spoil(shapes_of(NAME, 5)), Path("model.pth"))
    for part in parts:
        assert part in str(error.value)


# Pickles that ask for more than tensors.


def _zip_with(pickled: bytes) -> bytes:
    """The golden zip file with another pickle in it."""
    old, new = zipfile.ZipFile(io.BytesIO(_golden("pretrained.pth.tar"))), io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for info in old.infolist():
            is_pickle = info.filename.endswith("/data.pkl")
            archive.writestr(info.filename, pickled if is_pickle else old.read(info))
    return new.getvalue()


def _stream_with(pickled: bytes) -> bytes:
    """A file in the old format with another pickle in it."""
    facts = {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, facts))
    return head + pickled + pickle.dumps([], 2)


FORMATS = pytest.mark.parametrize("wrap", [_zip_with, _stream_with])


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@FORMATS
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["top", "model", "beside"])
def test_a_malicious_pickle_is_refused_and_not_executed(wrap, protocol, place, file, tmp_path):
    target = tmp_path / "executed"
    bomb = _Bomb(target)
    content = {"top": bomb, "model": {"model": {"w": bomb}}, "beside": {"model": {}, "args": bomb}}
    path = file(wrap(pickle.dumps(content[place], protocol)))
    with pytest.raises(UserError, match=r"^[^\n]*model\.pth\.tar: refused[^\n]*system'[^\n]*$"):
        _read_all(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(bomb, protocol))  # the bomb is a live one
    assert target.exists()


@FORMATS
@pytest.mark.parametrize(
    "name",
    (
        *("os system", "builtins eval", "__builtin__ getattr", "torch load", "torch.hub load"),
        *("argparse Namespace", "operator getitem", "functools partial", "numpy load"),
        *("omegaconf_evil x", "typing_extensions x", "builtins list.append"),
    ),
)
def test_names_outside_the_list_are_refused(wrap, name, file):
    pickled = b"c" + name.replace(" ", "\n").encode() + b"\n(S'x'\ntR."
    with pytest.raises(UserError, match="refused") as error:
        _read_all(file(wrap(pickled)))
    assert repr(name.replace(" ", ".")) in str(error.value)


def _state(name: bytes, attribute: bytes, as_slots: bool) -> bytes:
    """A pickle that sets an attribute of what a name stands for."""
    state = b"}(X" + len(attribute).to_bytes(4, "little") + attribute + b"K\x01u"
    return b"\x80\x02c" + name + b"\n" + (b"N" + state + b"\x86" if as_slots else state) + b"b."


@FORMATS
@pytest.mark.parametrize("as_slots", [False, True])
@pytest.mark.parametrize(
    "name",
    (
        *(b"torch._utils\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_parameter"),
        *(b"collections\nOrderedDict", b"torch\nFloatStorage", b"torch\nSize", b"typing\nAny"),
    ),
)
def test_a_pickle_cannot_change_the_stand_ins(wrap, name, as_slots, file):
    with pytest.raises(CorruptFileError, match=r"its pickle is damaged"):
        _read_all(file(wrap(_state(name, b"evil", as_slots))))
    for stand_in in torch_pickle._STAND_INS.values():
        assert not hasattr(stand_in, "evil")
    assert not hasattr(torch_pickle._Inert, "evil")


def test_objects_beside_the_tensors_are_dropped(file):
    with torch_file.open_torch(file(_golden("finetuned.pth.tar"))) as found:
        kinds = {name: type(value) for name, value in found.content.items()}
    assert kinds.pop("step") is int
    assert kinds.pop("pretrain_config") is kinds.pop("finetune_config") is torch_pickle._Inert
    assert all(issubclass(kind, dict) for kind in kinds.values())


def test_attributes_of_a_state_dict_are_dropped(file):
    """``state.items`` would be what the file says."""
    shadow = b"\x80\x02ccollections\nOrderedDict\n)R}(X\x05\x00\x00\x00itemsK\x01ub."
    with torch_file.open_torch(file(_zip_with(shadow))) as found:
        assert found.content == {} and callable(found.content.items)


# Tensors that reach out of their storage would read foreign memory.

_FLOATS = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{size}\ntQ"
_TENSOR = "ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}({shape}t({strides}tI00\nNtR."


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (1, (6,), (1,)),
        (0, (7,), (1,)),
        (0, (2, 2), (5, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (-2,), (1,)),
        (10**30, (1,), (1,)),
    ],
)
def test_a_tensor_outside_of_its_storage(offset, shape, strides, file):
    def numbers(values):
        return "".join(f"L{value}L\n" for value in values)

    text = _TENSOR.format(
        storage=_FLOATS.format(size=6),
        offset=numbers([offset]),
        shape=numbers(shape),
        strides=numbers(strides),
    )
    with pytest.raises(CorruptFileError, match="its pickle is damaged"):
        _read_all(file(_zip_with(text.encode())))


def test_a_number_in_the_file_reserves_no_memory(file):
    """Memo entry 2**32 - 1: a table of 64 GiB in the unpickler that is written in C."""
    huge = b"\x80\x02}r\xff\xff\xff\xff."
    with torch_file.open_torch(file(_zip_with(huge))) as found:
        assert found.content == {}


@pytest.mark.parametrize("size", [0, 1, 10**6, -1])
def test_a_storage_of_another_size(size, file):
    text = "(lp0\n" + _FLOATS.format(size=size) + "a."
    with pytest.raises(CorruptFileError, match=r"storage|pickle"):
        _read_all(file(_zip_with(text.encode())))


# Damage.


@pytest.mark.parametrize("name", BOTH_FORMATS)
def test_truncated_files(name, file):
    content = _golden(name)
    for share in (0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99, 0.9999):
        with pytest.raises(CorruptFileError, match=r"^[^\n]*model\.pth\.tar[^\n]*$"):
            _read_all(file(content[: int(len(content) * share)]))


def test_a_storage_cut_behind_the_back_of_the_directory(file):
    path = file(_golden("pretrained.pth.tar"))
    with torch_file.open_torch(path) as found:
        tensor = found.content["model"]["root.conv.weight"]
        path.write_bytes(b"")
        with pytest.raises(CorruptFileError, match="damaged"):
            found.read(tensor)


@pytest.mark.parametrize("name", BOTH_FORMATS)
def test_any_flipped_bit_ends_in_one_line_or_in_nothing(name, file):
    """Of the part that is not tensors: errors are ours, whatever the pickle has become."""
    good, generator = bytearray(_golden(name)), random.Random(0)
    if name == BOTH_FORMATS[0]:
        good = bytearray(zipfile.ZipFile(io.BytesIO(bytes(good))).read("archive/data.pkl"))
    end = len(good) if name == BOTH_FORMATS[0] else 9000
    failures = 0
    for _ in range(150):
        spoiled = bytearray(good)
        spoiled[generator.randrange(end)] ^= 1 << generator.randrange(8)
        whole = _zip_with(bytes(spoiled)) if name == BOTH_FORMATS[0] else bytes(spoiled)
        try:
            with torch_file.open_torch(file(whole)) as found:
                model = torch_names.TorchArrays(found)
                _ = [model.read(key) for key in model.shapes]
        except UserError as error:
            failures += 1
            assert "model.pth.tar" in str(error)
    assert failures > 50


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("model.pth")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _compressed(content: bytes) -> bytes:
    old, new = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in old.infolist():
            archive.writestr(info.filename, old.read(info))
    return new.getvalue()


def _npz(content: bytes) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros(3))
    return stream.getvalue()


def _with_member(name: str, value: bytes | None):
    def change(content: bytes) -> bytes:
        old, new = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
        with zipfile.ZipFile(new, "w") as archive:
            for info in old.infolist():
                if info.filename != name:
                    archive.writestr(info.filename, old.read(info))
            if value is not None:
                archive.writestr(name, value)
        return new.getvalue()

    return change


OTHER = {
    "empty": (lambda c: b"", "not a checkpoint of torch.save"),
    "text": (lambda c: b"<!DOCTYPE html>", "not a checkpoint of torch.save"),
    "gzip": (gzip.compress, "decompress it first"),
    "tar": (_tar, "unpack it first"),
    "npz": (_npz, "not one of torch.save"),
    "compressed": (_compressed, "is compressed"),
    "big-endian": (_with_member("archive/byteorder", b"big"), "big-endian"),
    "lost storage": (_with_member("archive/data/0", None), "storage 0 is missing"),
    "no model": (lambda c: _zip_with(pickle.dumps({"epoch": 3}, 2)), "found: epoch"),
    "empty model": (lambda c: _zip_with(pickle.dumps({}, 2)), "found: nothing"),
    "a list": (lambda c: _zip_with(pickle.dumps([1], 2)), "no state dict"),
    "version": (lambda c: torch_file._MAGIC + b"\x80\x02K\x07.", "version 7 of the format"),
}


@pytest.mark.parametrize("what", OTHER)
def test_files_of_another_kind(what, file):
    change, message = OTHER[what]
    with pytest.raises(UserError, match=r"^[^\n]*model\.pth\.tar[^\n]*$") as error:
        _read_all(file(change(_golden("pretrained.pth.tar"))))
    assert message in str(error.value)


def test_a_file_of_a_pytorch_that_wrote_no_byte_order(file):
    """Before 2.1, so all of the authors'."""
    content = _golden("pretrained.pth.tar")
    assert len(_read_all(file(_with_member("archive/byteorder", None)(content)))) == 45


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth: no such file"):
        _read_all(tmp_path / "nowhere.pth")
