"""ImageNet-1k and -21k in every layout in which they are handed out, and what is wrong in them."""

import gzip
import io
import tarfile
import tracemalloc
from collections import Counter

import cv2
import numpy as np
import pytest
import scipy.io
from conftest import build
from tar_trees import Tree, picture, tar, unpack
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import stages
from tfrecords_builders.sources import Dropped, Item

_A, _B, _C = "n01440764", "n01443537", "n02105855"
_VAL_STEMS = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 5)]
_TRUTH = (_C, _A, _A, _B)
_PNG, _CMYK = f"{_C}_2933.JPEG", f"{_B}_1.JPEG"


def _class(synset, numbers, seed):
    return {f"{synset}_{n}.JPEG": picture(seed + n) for n in numbers}


def _train() -> dict[str, dict[str, bytes]]:
    train = {_C: _class(_C, (7,), 100), _A: _class(_A, (1, 10), 200), _B: _class(_B, (5,), 300)}
    train[_C][_PNG] = picture(1, kind="PNG")
    train[_B][_CMYK] = picture(2, "CMYK")
    train[_A][f"{_A}_3.JPEG"] = picture(3, "L")
    return train


def _val() -> dict[str, bytes]:
    return {f"{stem}.JPEG": picture(400 + i) for i, stem in enumerate(_VAL_STEMS)}


def _devkit() -> dict[str, bytes]:
    """Makes the devkit; ILSVRC ids run against the alphabet, and inner nodes have ids, too."""
    rows = [
        (1, _C, "Maltese"),
        (2, _B, "goldfish"),
        (3, _A, "tench"),
        (1001, "n00001740", "entity"),
    ]
    synsets = np.zeros(len(rows), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    for i, row in enumerate(rows):
        synsets[i] = row
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"synsets": synsets.reshape(-1, 1)})
    number = {synset: i for i, synset, _ in rows}
    truth = "".join(f"{number[synset]}\n" for synset in _TRUTH).encode()
    return {"meta.mat": stream.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth}


def _devkit_tar() -> bytes:
    files = {f"ILSVRC2012_devkit_t12/data/{name}": data for name, data in _devkit().items()}
    return gzip.compress(tar({"ILSVRC2012_devkit_t12/readme.txt": b"", **files}))


def _kaggle_csv() -> bytes:
    boxes = [f"{synset} 1 2 3 4 {synset} 5 6 7 8 " for synset in _TRUTH]
    rows = [f"{stem},{box}" for stem, box in zip(_VAL_STEMS, boxes)]
    return "\r\n".join(["ImageId,PredictionString", *reversed(rows)]).encode()


def _by_tar() -> dict[str, dict[str, bytes]]:
    return {f"{synset}.tar": files for synset, files in _train().items()}


def _sorted_val() -> Tree:
    return {s: {n: d for (n, d), t in zip(_val().items(), _TRUTH) if t == s} for s in set(_TRUTH)}


_LIST = "\n".join(_TRUTH).encode()
_LAYOUTS: dict[str, tuple[Tree, str]] = {
    "official": (
        {
            "ILSVRC2012_img_train.tar": tar(_by_tar()),
            "ILSVRC2012_img_val.tar": tar(_val()),
            "ILSVRC2012_devkit_t12.tar.gz": _devkit_tar(),
        },
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
    ),
    "unpacked, devkit": (
        {"train": _train(), "val": _val(), "ILSVRC2012_devkit_t12": {"data": _devkit()}},
        "train and val",
    ),
    "class tars, list": (
        {
            "train": {name: tar(files) for name, files in _by_tar().items()},
            "val": _val(),
            "imagenet_2012_validation_synset_labels.txt": _LIST,
        },
        "train and val",
    ),
    "valprep": ({"train": _train(), "val": _sorted_val()}, "train and val"),
    "kaggle": (
        {
            "ILSVRC/Data/CLS-LOC": {"train": _train(), "val": _val(), "test": {"1.JPEG": b""}},
            "LOC_val_solution.csv": _kaggle_csv(),
        },
        "ILSVRC/Data/CLS-LOC/train and ILSVRC/Data/CLS-LOC/val",
    ),
}


def _open(folder, *options, name="imagenet1k"):
    source = stages.make_job(name, input_dir=str(folder), options=options).open_source()
    entries = list(source.items())
    items = [e for e in entries if isinstance(e, Item)]
    return source, items, [e for e in entries if isinstance(e, Dropped)]


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_every_layout_gives_the_same_examples(tmp_path, layout):
    tree, name = _LAYOUTS[layout]
    unpack(tree, tmp_path)
    source, items, dropped = _open(tmp_path)
    assert not dropped
    assert source.labels.names == (_A, _B, _C)
    found = {item.example_id: (item.split, source.labels.names[item.label]) for item in items}
    train = {name: ("train", synset) for synset, files in _train().items() for name in files}
    val = {f"{stem}.JPEG": ("val", synset) for stem, synset in zip(_VAL_STEMS, _TRUTH)}
    assert found == train | val
    pixels = _val() | {name: data for files in _train().values() for name, data in files.items()}
    assert all(source.load(item) == pixels[item.example_id] for item in items)
    facts = source.facts()
    assert (facts["layout"], facts["classes"]) == (name, 3)
    assert facts["note"] == "not the 1,000 classes of ILSVRC2012"
    assert len(source.checksums()) == {"unpacked, devkit": 2, "valprep": 0}.get(layout, 1)


def test_a_build_keeps_plain_jpeg_and_mends_the_others(tmp_path):
    unpack(_LAYOUTS["official"][0], tmp_path / "in")
    outcome = build("imagenet1k", tmp_path / "out", input_dir=str(tmp_path / "in"))
    data, stored = Dataset(outcome.folder), {}
    for split in ("train", "val"):
        reader = data.reader(split)
        for payload in reader.read(range(len(reader))):
            feature = tf_example_pb2.Example.FromString(payload).features.feature
            name = feature["example_id"].bytes_list.value[0].decode()
            stored[name] = feature["image"].bytes_list.value[0]
    originals = _val() | {n: d for files in _train().values() for n, d in files.items()}
    assert {name for name in originals if stored[name] != originals[name]} == {_PNG, _CMYK}
    for name in (_PNG, _CMYK):
        assert stored[name].startswith(b"\xff\xd8\xff")
        pixels = cv2.imdecode(np.frombuffer(stored[name], np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels is not None and pixels.shape == (12, 16, 3)
    assert outcome.card["published"] == {"train": 1281167, "val": 50000}


def test_missing_parts_are_listed_with_their_origin(tmp_path):
    with pytest.raises(UserError) as error:
        _open(tmp_path)
    for part in ("training images (ILSVRC2012_img_train.tar", "validation images", "labels of the"):
        assert part in str(error.value)
    assert "https://image-net.org/challenges" in str(error.value)
    unpack({"train": _train(), "val": _val()}, tmp_path)
    with pytest.raises(UserError, match=r"no labels of the validation images \(ILSVRC2012_devkit"):
        _open(tmp_path)
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(tar(_by_tar()))
    with pytest.raises(UserError, match="train is there twice"):
        _open(tmp_path)


def test_classes_of_other_names_are_sent_elsewhere(tmp_path):
    unpack({"train": {"cat": {"1.JPEG": b""}}, "val": _sorted_val()}, tmp_path)
    with pytest.raises(UserError, match=r"train: no class in it .* --source=image_folder"):
        _open(tmp_path)


def test_whatever_does_not_fit_is_dropped_with_its_reason(tmp_path):
    train, val = _train(), _val()
    train[_A] |= {"._x.JPEG": b"mac", "notes.txt": b"", "deep/1.JPEG": b""}
    train |= {"n99999999": {}, "n12": {"a.JPEG": b""}}
    answers = [(stem, _TRUTH[i]) for i, stem in enumerate(_VAL_STEMS)]
    answers[0] = (_VAL_STEMS[0], "n77777777")
    answers[1] = ("ILSVRC2012_val_00009999", _A)
    rows = "".join(f"{stem},{synset} 1 1 2 2\n" for stem, synset in answers)
    unpack(
        {
            "train": {**train, "n01440765.tar.part": b"half", "empty": {}},
            "val": val,
            "LOC_val_solution.csv": f"ImageId,PredictionString\n{rows}".encode(),
        },
        tmp_path,
    )
    (tmp_path / "train" / "n88888888.tar").write_bytes(b"")
    _, items, dropped = _open(tmp_path)
    assert len(items) == 7 + 2
    assert set(dropped) == {
        Dropped("train/n01440764/._x.JPEG", "not an image by its name"),
        Dropped("train/n01440764/notes.txt", "not an image by its name"),
        Dropped("train/n01440764/deep", "folder where only images should be", True),
        Dropped("train/n99999999", "class without images", True),
        Dropped("train/n88888888.tar", "class without images", True),
        Dropped("train/n12", "not a class"),
        Dropped("train/empty", "not a class"),
        Dropped("train/n01440765.tar.part", "neither a class folder nor a class tar", True),
        Dropped(f"val/{_VAL_STEMS[0]}.JPEG", "its class is not in train", True),
        Dropped(f"val/{_VAL_STEMS[1]}.JPEG", "no label for it", True),
        Dropped("ILSVRC2012_val_00009999 (LOC_val_solution.csv)", "no such image", True),
    }


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("ILSVRC2012_devkit_t12.tar.gz", _devkit_tar()[:-40], "devkit_t12.tar.gz: damaged"),
        ("ILSVRC2012_devkit_t12.tar.gz", b"\0" * 2000, "devkit_t12.tar.gz: "),
        ("ILSVRC2012_devkit_t12.tar.gz", gzip.compress(tar({"x": b""})), "and no meta.mat in it"),
        ("LOC_val_solution.csv", b"ImageId\nx\n", "no column 'PredictionString'"),
        ("LOC_val_solution.csv", b"ImageId,PredictionString\nx,cat 1\n", "line 2: .*'cat'.* not a"),
        ("imagenet_2012_validation_synset_labels.txt", b"n01440764\n7\n", "line 2 starts with '7'"),
    ],
    ids=["cut", "zeros", "other", "columns", "no synset", "list"],
)
def test_wrong_label_files_are_named(tmp_path, name, content, message):
    unpack({"train": _train(), "val": _val(), name: content}, tmp_path)
    with pytest.raises(UserError, match=message):
        _open(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"meta.mat": b"MATLAB 5.0".ljust(200)}, "meta.mat is damaged"),
        ({"ILSVRC2012_validation_ground_truth.txt": b"1\n7\n"}, "line 2: '7' is no ILSVRC id"),
        ({"ILSVRC2012_validation_ground_truth.txt": b"1\nx\n"}, "line 2: 'x' is no ILSVRC id"),
    ],
)
def test_a_wrong_devkit_is_named(tmp_path, change, message):
    tree: Tree = {"train": _train(), "val": _val(), "devkit/data": _devkit() | change}
    unpack(tree, tmp_path)
    with pytest.raises(UserError, match=message):
        _open(tmp_path)


def test_damaged_and_hostile_tars(tmp_path):
    whole = tar(_by_tar())
    unpack({"val": _sorted_val()}, tmp_path)
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match=r"img_train.tar, byte \d+: truncated tar"):
        _open(tmp_path)
    path.rename(path.with_name(f"{path.name}.gz"))
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match=r"gunzip -k .*img_train.tar.gz"):
        _open(tmp_path)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in (("../../a.JPEG", tarfile.REGTYPE), ("b.JPEG", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    path.with_name(f"{path.name}.gz").unlink()
    path.write_bytes(tar({**_by_tar(), "n03000000.tar": stream.getvalue()}))
    _, items, dropped = _open(tmp_path)
    assert len(items) == 7 + 4
    assert [(d.reason, d.defect) for d in dropped] == [
        ("class without images", True),
        ("name inside a tar that leads out of it", True),
        ("link inside a tar, not followed", True),
    ]


# --- ImageNet-21k


def _all() -> dict[str, dict[str, bytes]]:
    classes = {_A: _class(_A, range(1, 30), 0), _B: _class(_B, range(1, 20), 100), _C: {}}
    classes[_A][f"{_B}_1.JPEG"] = classes[_B][f"{_B}_1.JPEG"]  # listed twice
    classes[_A][f"{_C}_4.JPEG"] = picture(500)  # its own class does not have it
    return classes


def _tars(prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{synset}.tar": tar(files) for synset, files in reversed(_all().items())}


_PLACES: dict[str, tuple[Tree, str]] = {
    "fall11": ({"fall11_whole.tar": tar(_tars())}, "fall11_whole.tar"),
    "winter21": ({"winter21_whole.tar": tar(_tars("winter21_whole/"))}, "winter21_whole.tar"),
    "class tars": (_tars(), "class tars or folders"),
    "class tars in a folder": ({"winter21_whole": _tars()}, "winter21_whole"),
    "folders": (_all(), "class tars or folders"),
}


@pytest.mark.parametrize("place", _PLACES)
def test_all_layouts_of_21k_give_the_same_examples(tmp_path, place):
    tree, layout = _PLACES[place]
    unpack(tree, tmp_path)
    source, items, dropped = _open(tmp_path, name="imagenet21k")
    assert source.labels.names == (_A, _B)  # no class without an image
    facts = source.facts()
    assert facts == {"layout": layout, "classes": 2, "classes_without_images": 1}
    expected = {name: synset for synset, files in _all().items() for name in files}
    expected[f"{_B}_1.JPEG"] = _B
    assert {i.example_id: source.labels.names[i.label] for i in items} == expected
    assert len(items) == len(expected)
    assert {item.split for item in items} == {"train"}
    assert sorted((d.reason, d.defect) for d in dropped) == [
        ("class without images", False),
        ("listed in another class (records=per_label)", False),
    ]
    content = {name: data for files in _all().values() for name, data in files.items()}
    assert all(source.load(item) == content[item.example_id] for item in items)


def test_per_label_keeps_every_listing_in_one_split(tmp_path):
    unpack(_tars(), tmp_path)
    options = ("records=per_label,val_fraction=0.3",)
    source, items, dropped = _open(tmp_path, *options, name="imagenet21k")
    assert [d.reason for d in dropped] == ["class without images"]
    ids = {item.example_id: item for item in items}
    assert len(ids) == len(items) == 31 + 19
    twice = [ids[f"{_B}_1.JPEG#{synset}"] for synset in (_A, _B)]
    assert [source.labels.names[item.label] for item in twice] == [_A, _B]
    assert twice[0].split == twice[1].split
    splits = Counter(item.split for item in items)
    assert 5 < splits["val"] < 25
    # Which images are val depends on their names, not on what else is there.
    (tmp_path / f"{_A}.tar").unlink()
    rest = _open(tmp_path, *options, name="imagenet21k")[1]
    assert all(ids[item.example_id].split == item.split for item in rest)


def test_the_processed_release_has_a_val_of_its_own(tmp_path):
    train, val = {_A: _class(_A, (1, 2), 0), _B: _class(_B, (1,), 10)}, {_A: _class(_A, (7,), 20)}
    small = {_C: _class(_C, (1, 2), 30)}
    tree: Tree = {
        "imagenet21k_train": train,
        "imagenet21k_val": val,
        "imagenet21k_small_classes": small,
    }
    unpack({"imagenet21k_resized": tree}, tmp_path)
    source, items, dropped = _open(tmp_path, name="imagenet21k")
    assert source.labels.names == (_A, _B)
    assert Counter(item.split for item in items) == {"train": 3, "val": 1}
    assert [d.reason for d in dropped] == ["in a small class (small_classes=true keeps it)"] * 2
    source, items, dropped = _open(tmp_path, "small_classes=true", name="imagenet21k")
    assert source.labels.names == (_A, _B, _C)
    assert Counter(item.split for item in items) == {"train": 5, "val": 1}
    assert not dropped
    with pytest.raises(UserError, match=r"val_fraction does not fit .*imagenet21k_val"):
        _open(tmp_path, "val_fraction=0.1", name="imagenet21k")
    unpack(_tars(), tmp_path)
    with pytest.raises(UserError, match="different releases or copies"):
        _open(tmp_path, name="imagenet21k")


def test_21k_that_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"no winter21_whole.tar.*Get .* https://image-net.org"):
        _open(tmp_path, name="imagenet21k")
    (tmp_path / "winter21_whole.tar.gz").write_bytes(gzip.compress(tar(_tars())))
    with pytest.raises(UserError, match=r"gunzip -k .*winter21_whole.tar.gz"):
        _open(tmp_path, name="imagenet21k")
    (tmp_path / "winter21_whole.tar.gz").unlink()
    unpack({_A: _all()[_A], f"{_A}.tar": tar({}), f"{_B}.tar": b""}, tmp_path)
    with pytest.raises(UserError, match=rf"The class {_A} is there twice: {_A} and {_A}.tar"):
        _open(tmp_path, name="imagenet21k")
    (tmp_path / f"{_A}.tar").unlink()
    dropped = _open(tmp_path, name="imagenet21k")[2]
    assert dropped == [Dropped(f"{_B}.tar", "class without images", defect=True)]


def test_21k_is_built_from_a_tar_of_tars(tmp_path):
    unpack(_PLACES["winter21"][0], tmp_path / "in")
    outcome = build("imagenet21k", tmp_path / "out", input_dir=str(tmp_path / "in"))
    assert outcome.card["labels"] == [_A, _B]
    assert outcome.card["facts"]["classes_without_images"] == 1
    sources = Dataset(outcome.folder).index("train", ["source"])["source"]
    assert all(s.startswith("winter21_whole.tar@") and s.endswith(".JPEG") for s in sources)


def test_21k_streams(tmp_path):
    count = 20_000
    block = tar({f"{_A}_1.JPEG": b"x"})[:1024]
    inner = block * (count // 4) + bytes(1024)
    names = [f"n{number:08d}.tar" for number in range(4)]
    (tmp_path / "fall11_whole.tar").write_bytes(tar(dict.fromkeys(names, inner)))
    del inner
    job = stages.make_job("imagenet21k", input_dir=str(tmp_path), options=["records=per_label"])
    source = job.open_source()
    tracemalloc.start()
    found = sum(isinstance(entry, Item) for entry in source.items())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == count
    assert peak < 300_000
