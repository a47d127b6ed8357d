"""Published weights to directories that ``model.init`` takes, by function and by command."""

import dataclasses
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import published
from keras_transfer import models, training
from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import augment
from keras_transfer.training import weights

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "torch"
NAME = "bit-r14x0.03125"
RANGE, IMAGENET = "value_range(-1, 1)", "standardize('imagenet')"
FACTS = training.Facts(source="nih", normalisation=RANGE)


@pytest.fixture
def checkpoint(tmp_path):
    """Returns a function (name) -> path of a checkpoint of the real ``torch.save``."""

    def unpack(name: str = "pretrained.pth.tar") -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def bit_file(tmp_path):
    """A file named and filled like a released one."""
    path = tmp_path / "BiT-M-R50x1.npz"
    models.save_npz(models.build("bit-r14x0.25", 5, head_init="uniform", seed=7), path)
    return path


def test_a_checkpoint_becomes_a_directory_for_model_init(checkpoint, tmp_path):
    out = tmp_path / "new" / "nih"
    facts = dataclasses.replace(FACTS, resolution=224)
    done = training.convert(checkpoint(), out, facts, verify=True)
    assert {p.name for p in out.iterdir()} == {"weights.npz", "weights.json"}
    assert {p.name for p in out.parent.iterdir()} == {"nih"}
    path, card = weights.find(str(out), NAME)
    assert path == out / "weights.npz" and card == done.card
    assert (card.arch, card.source, card.normalisation) == (NAME, "nih", RANGE)
    assert card.resolution == (224, 224)
    assert (done.num_classes, done.dtypes, done.num_arrays) == (5, ("float32",), 45)
    assert done.logits.shape == (1, 5) and np.abs(done.logits).max() > 0.1
    with pytest.raises(UserError, match=r"holds bit-r14x0\.03125, but model\.name is bit-r50x1"):
        weights.find(str(out), "bit-r50x1")


def test_all_files_of_one_network_give_the_same_logits(checkpoint, tmp_path):
    """float16 and float32, both formats of PyTorch, ``.npz``, and a directory of ours."""
    names = ("pretrained.pth.tar", "finetuned.pth.tar", "half.pth")
    inputs = [(name, checkpoint(name)) for name in names]
    done = {n: training.convert(p, tmp_path / f"to-{n}", FACTS, verify=True) for n, p in inputs}
    npz = tmp_path / "network.npz"
    npz.write_bytes((tmp_path / f"to-{names[0]}" / "weights.npz").read_bytes())
    done["npz"] = training.convert(npz, tmp_path / "to-npz", FACTS, verify=True)
    done["run"] = training.convert(
        tmp_path / f"to-{names[1]}", tmp_path / "to-run", training.Facts(), verify=True
    )
    assert len({conversion.checksum for conversion in done.values()}) == 1
    assert done["half.pth"].dtypes == ("float16",)
    assert len({conversion.card for conversion in done.values()}) == 1


def test_verification_finds_a_wrong_array(checkpoint, tmp_path, monkeypatch):
    write = models.write_arrays

    def misprint(path, arrays):
        write(path, ((k, v + (k == "resnet/group_norm/beta")) for k, v in arrays))

    monkeypatch.setattr("keras_transfer.models.write_arrays", misprint)
    with pytest.raises(UserError, match=r"resnet/group_norm/beta differs from .*pretrained"):
        training.convert(checkpoint(), tmp_path / "out", FACTS, verify=True)
    assert {p.name for p in tmp_path.iterdir()} == {"pretrained.pth.tar"}


def test_a_released_file_says_what_it_is_by_its_name(bit_file, tmp_path):
    card = training.convert(bit_file, tmp_path / "out", training.Facts()).card
    assert (card.source, card.normalisation) == ("BiT-M-R50x1", RANGE)
    assert card.resolution == (224, 224)
    assert card == weights.find(str(bit_file), "bit-r14x0.25")[1]
    assert weights.bit_facts(Path("BiT-S-R101x3-CIFAR10.npz")).keys() == {"source", "normalisation"}
    assert weights.bit_facts(Path("weights.npz")) == {}


def _edit(**changes):
    return dataclasses.replace(FACTS, **changes)


@pytest.mark.parametrize(
    "facts, message",
    [
        (_edit(source=""), r"does not say its source: give --source"),
        (_edit(normalisation=""), r"does not say its normalisation: give --normalisation"),
        (_edit(arch="bit-r50x1"), r"holds bit-r14x0\.03125, but bit-r50x1 was given"),
        (_edit(normalisation="value_rnge(-1, 1)"), r"value_range"),
        (_edit(normalisation="", resolution=224), r"give --normalisation"),
        (_edit(eval=f"decode|resize(224)|{IMAGENET}"), r"trained with .standardize.*not with"),
        (_edit(task="multiclass", labels=("a", "b")), r"has 5 outputs, but there are 2 labels"),
        (_edit(task="multiclass", labels=tuple("abcda")), r"Label names occur twice: a"),
    ],
)
def test_missing_and_contradictory_facts(facts, message, checkpoint, tmp_path):
    with pytest.raises(UserError, match=message):
        training.convert(checkpoint(), tmp_path / "out", facts)
    assert {p.name for p in tmp_path.iterdir()} == {"pretrained.pth.tar"}


def test_a_card_is_believed(checkpoint, tmp_path):
    labels = {"task": "multilabel", "labels": tuple("abcde")}
    first = training.convert(checkpoint(), tmp_path / "first", _edit(**labels)).card
    assert first.label_space.names == tuple("abcde")
    given = training.Facts(source="renamed")
    renamed = training.convert(tmp_path / "first", tmp_path / "second", given).card
    assert renamed == dataclasses.replace(first, source="renamed")
    for facts, message in [
        (training.Facts(normalisation=IMAGENET), r"trained with .value_range"),
        (training.Facts(normalisation=RANGE, resolution=9), r"has a card.*give none"),
    ]:
        with pytest.raises(UserError, match=message):
            training.convert(tmp_path / "first" / "weights.npz", tmp_path / "third", facts)


def test_old_cards_are_readable(tmp_path):
    card = {"arch": NAME, "source": "x", "normalisation": RANGE, "labels": []}
    runs.write_json(tmp_path / runs.WEIGHTS_CARD_FILE, card)
    assert weights.read_card(tmp_path).resolution is None


def test_nothing_is_overwritten(checkpoint, tmp_path):
    path, out = checkpoint(), tmp_path / "out"
    out.mkdir()
    training.convert(path, out, FACTS)  # an empty directory may be there
    with pytest.raises(UserError, match=r"--out: .* exists"):
        training.convert(path, out, FACTS)
    with pytest.raises(UserError, match=r"holds no weights\.npz"):
        training.convert(tmp_path, tmp_path / "new", FACTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_numbers_that_are_none(bad, bit_file, tmp_path):
    key = "resnet/block1/unit01/a/group_norm/gamma"
    content = dict(np.load(bit_file))
    spoiled = content | {key: np.where(np.arange(16) == 3, bad, content[key].astype(np.float64))}
    np.savez(tmp_path / "spoiled.npz", **spoiled)
    with pytest.raises(UserError, match=r"spoiled\.npz: .*unit01/a/group_norm/gamma .*not finite"):
        training.convert(tmp_path / "spoiled.npz", tmp_path / "out", FACTS)
    assert not (tmp_path / "out").exists()


def test_damage_met_while_writing_leaves_nothing(bit_file, tmp_path):
    content = bytearray(bit_file.read_bytes())
    content[len(content) // 2] ^= 1
    bit_file.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"BiT-M-R50x1\.npz: not an intact \.npz"):
        training.convert(bit_file, tmp_path / "out", training.Facts())
    assert [*tmp_path.iterdir()] == [bit_file]


def test_a_checkpoint_as_model_init_says_how_to_convert_it(checkpoint):
    with pytest.raises(UserError, match=r"pretrained\.pth\.tar must be converted.*convert_weights"):
        weights.find(str(checkpoint()), NAME)


def test_what_the_authors_configs_say():
    """upstream.md, section 1: 19 configs."""
    medical = ["chexpert", "mimic", "nih", "padchest", "chexpert_mimic", "chexpert_mimic_nih"]
    medical.append("chexpert_mimic_nih_padchest")
    names = [f"{s}_bit{n}" for s in medical for n in ("50x1", "152x4")]
    names.remove("padchest_bit50x1")
    natural = [f"imagenet{k}_bit{n}" for k in ("1k", "21k") for n in ("50x1", "152x4")]
    natural += [f"imagenet1k_bit{n}_optimized" for n in ("50x1", "152x4")]
    found = {name: published.authors_facts(name) for name in names + natural}
    assert len(found) == 19 and all(found.values())
    for name, facts in found.items():
        pipeline = augment.compose(facts["eval"])
        assert pipeline.output_size == (224, 224)
        assert pipeline.normalisation == (RANGE if name in names else IMAGENET)
        assert augment.compose(facts["train"]).normalisation == pipeline.normalisation
        assert facts["arch"] == ("bit-r152x4" if "152x4" in name else "bit-r50x1")
    assert found["chexpert_mimic_bit152x4"]["source"] == "chexpert+mimic"
    assert len({(f["source"], f["arch"]) for f in found.values()}) == 19
    for other in ("padchest_bit50x1", "imagenet1k", "chexpert_bit50x1_optimized", "nih_bit101x1"):
        assert published.authors_facts(other) is None


def _run(*args):
    command = [sys.executable, "-m", "experiments.convert_weights", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_the_command(checkpoint, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc, d\ne\nf\n")
    code, out, err = _run(
        f"--in={checkpoint()}",
        f"--out={tmp_path / 'out'}",
        "--source=imagenet21k",
        "--normalisation=imagenet",
        f"--labels={tmp_path / 'labels.txt'}",
        "--task=multiclass",
        "--verify",
    )
    assert code == 0, err
    assert "45 arrays equal" in out and "crc32" in out and "model.init" in out
    card = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert (card["normalisation"], card["labels"][2]) == (IMAGENET, "c, d")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--out=x"], "--source=nih_bit50x1"),
        (["--out=x", "--source=nih_bit50x1", "--arch=bit-r152x4"], "nih_bit50x1 is of bit-r50x1"),
        (["--out=x", "--source=nih", "--labels=a,b"], "--task=multiclass or"),
    ],
)
def test_wrong_flags(flags, message, tmp_path):
    code, _, err = _run(f"--in={tmp_path}/nih_bit50x1/model.pth.tar", *flags)
    assert code == 2 and message in err and err.count("\n") == 1
