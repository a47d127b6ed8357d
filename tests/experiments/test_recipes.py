"""The recipes of all pre-trainings: what they say, that they are sound, and without data."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from experiments.configs import datasets, paper_runs, pretrain
from keras_transfer.core import config as config_lib
from keras_transfer.core.config import PretrainConfig
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import union
from keras_transfer.data import augment
from keras_transfer.optim import schedules
from tfrecords_builders import sources as builders
from tfrecords_builders import stages
from tfrecords_builders.sources import _cxr, _padchest_terms, nih_cxr14

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "experiments/configs").glob("*.py"))
WITH_COMMANDS = [path for path in CONFIGS if "--config=" in path.read_text().split('"""')[1]]

FRONTAL = ("PA", "AP")
PADCHEST = ("PA", "AP", "AP Supine", "L", "COSTAL")
FOUR = ("PA", "AP", "AP Supine", "COSTAL", "chexpert:L", "padchest:L")

# upstream.md 1 and 1.4: batch, peak rate, AGC, schedule, duration, warm-up, its start, views.
GOLDEN = {
    "imagenet1k-r50x1": (4096, 0.48, True, "cosine", "90 epochs", "5000 steps", 0, ()),
    "imagenet1k-r152x4": (4096, 0.48, True, "cosine", "90 epochs", "5000 steps", 0, ()),
    "imagenet1k-r50x1:authors": (4096, 1.6, False, "step", "90 epochs", "5 epochs", 128, ()),
    "imagenet1k-r152x4:authors": (4096, 0.48, True, "step", "90 epochs", "15 epochs", 256, ()),
    "imagenet1k-r50x1:authors_optimized": (
        (4096, 0.48, True, "cosine", "120 epochs", "15 epochs", 128, ())
    ),
    "imagenet1k-r152x4:authors_optimized": (
        (4096, 0.48, True, "cosine", "90 epochs", "15 epochs", 256, ())
    ),
    "imagenet21k-r50x1": (4096, 0.16, True, "step", "90 epochs", "5000 steps", 0, ()),
    "imagenet21k-r152x4:authors": (4096, 0.16, True, "step", "90 epochs", "2 epochs", 256, ()),
    "chexpert-r50x1": (4096, 0.16, True, "step", "90 epochs", "15 epochs", 0, ()),
    "chexpert-r50x1:authors": (1024, 0.04, True, "step", "90 epochs", "15 epochs", 64, FRONTAL),
    "chexpert+mimic-r152x4:authors": (
        (1024, 0.04, True, "step", "90 epochs", "15 epochs", 64, FRONTAL)
    ),
    "padchest-r152x4:authors": ((1024, 0.04, True, "step", "90 epochs", "15 epochs", 64, PADCHEST)),
    "chexpert+mimic+nih+padchest-r152x4": (
        (4096, 0.16, True, "step", "90 epochs", "5000 steps", 0, ())
    ),
    "chexpert+mimic+nih+padchest-r152x4:authors": (
        (1024, 0.04, True, "step", "90 epochs", "15 epochs", 64, FOUR)
    ),
}

# Images that each source trains on, roughly: enough to see that the warm-up fits.
SIZES = {
    "imagenet1k": 1_300_000,
    "imagenet21k": 14_000_000,
    "chexpert": 190_000,
    "mimic": 240_000,
    "nih": 80_000,
    "padchest": 100_000,
}


@pytest.fixture(scope="module", params=paper_runs.names())
def run(request):
    return request.param, paper_runs.get_config(f"{request.param},data=/nowhere")


def _trained_on(name):
    return name.rpartition("-")[0].split("+")


def test_every_run_is_valid_and_survives_json(run):
    name, config = run
    config.validate()
    assert isinstance(config, PretrainConfig)
    assert config_lib.from_dict(config_lib.to_dict(config)) == config
    assert config.model.name == "bit-" + name.split(":")[0].rpartition("-")[2]
    assert len(config.data.dirs) == len(_trained_on(name))
    assert config.seed == 0 and paper_runs.get_config(f"{name},seed=5").seed == 5


def test_every_run_says_what_data_it_lacks(run):
    name, config = run
    named = _trained_on(name)
    with pytest.raises(UserError, match=f"{len(named)} of {len(named)} datasets") as error:
        datasets.require(config.data.dirs)
    for source in named:
        assert datasets.command(source, "/nowhere", authors=":" in name) in str(error.value)


def test_names_are_those_of_paper_and_poster():
    unions = {
        "imagenet1k", "imagenet21k", "chexpert", "mimic", "nih", "padchest", "chexpert+mimic",
        "chexpert+mimic+nih", "chexpert+mimic+nih+padchest",
    }  # fmt: skip
    names = paper_runs.names()
    for arch in ("r50x1", "r152x4"):
        texts = {name for name in names if name.endswith(f"-{arch}")}
        mixtures = {n for n in texts if "imagenet" in n and "+" in n}
        assert texts - mixtures == {f"{source}-{arch}" for source in unions} and mixtures
    # The 19 published configs.
    published = [name for name in names if ":" in name]
    assert len(published) == 19 and "padchest-r50x1:authors" not in published
    assert len({config_lib.digest(paper_runs.get_config(name)) for name in names}) == len(names)


def test_strings_and_schedules_of_every_run_are_sound(run):
    name, config = run
    for text in (config.data.train, config.data.eval):
        composed = augment.compose(text)
        assert composed.output_size == (224, 224) and composed.channels == 3
    assert not composed.is_random
    count = sum(SIZES[source] for source in _trained_on(name))
    if name.startswith("chexpert+mimic+nih+padchest") and ":" not in name:
        count = 800_000  # all views: 873,000 without what is held out
    batch = config.train.global_batch_size
    total, warmup = (
        config_lib.duration.to_steps(text, global_batch_size=batch, num_examples=count)
        for text in (config.schedule.duration, config.schedule.warmup)
    )
    schedules.make_schedule(
        config.schedule.name,
        peak_lr=1.0,
        total_steps=total,
        warmup_steps=warmup,
        warmup_start=config.schedule.warmup_start,
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_recipes_are_those_of_text_and_code(name):
    config = paper_runs.get_config(name)
    batch, peak, agc, schedule, duration, warmup, workers, views = GOLDEN[name]
    optim = config.optim
    scaled = schedules.scale_linearly(optim.base_lr, batch, optim.base_batch_size)
    assert config.train.global_batch_size == batch and scaled == pytest.approx(peak)
    assert optim.clipping == (0.01 if agc else 0.0)
    assert (optim.momentum, optim.weight_decay, optim.decay_mask) == (0.9, 1e-4, "all")
    assert (config.schedule.name, config.schedule.duration) == (schedule, duration)
    assert config.schedule.warmup == warmup
    assert config.schedule.warmup_start == (1 / workers if workers else 0)
    assert config.data.views == views
    authors = ":" in name
    assert optim.nesterov == authors
    assert config.runtime.precision == ("mixed_bfloat16" if authors else "float32")
    assert ("rand_augment(2, 9)" in config.data.train) == (schedule == "cosine")
    assert ("shift=0.25" in config.data.train) == (authors and "imagenet" not in name)


def test_validation_is_never_the_test_set_of_a_transfer(run):
    name, config = run
    if ":" not in name:
        assert config.data.val_split == ("" if name.startswith("imagenet21k-") else "val")
        assert not any("splits" in folder for folder in config.data.dirs)
    elif name.startswith("padchest"):
        assert config.data.val_split == "test"  # as the authors did


SPACES = {
    "chexpert": _cxr.FINDINGS,
    "mimic": _cxr.FINDINGS,
    "nih": builders.LabelSpace("multilabel", nih_cxr14.FINDINGS),
    "padchest": builders.LabelSpace("multilabel", _padchest_terms.FINDINGS),
}
SEVEN = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Pneumonia",
    "Pneumothorax",
)


@pytest.mark.parametrize(
    ("source", "first", "names"),
    [
        ("chexpert", "chexpert", _cxr.FINDINGS.names),
        ("padchest", "padchest", _padchest_terms.FINDINGS),
        ("chexpert+mimic", "mimic_cxr", _cxr.FINDINGS.names),
        ("chexpert+mimic+nih", "chexpert", SEVEN),
        ("chexpert+mimic+nih+padchest", "chexpert", SEVEN),
    ],
)
def test_labels_and_order_of_unions_are_the_authors(source, first, names):
    config = paper_runs.get_config(f"{source}-r152x4:authors,data=/d")
    assert config.data.dirs[0].startswith(f"/d/{first}/")
    assert config.data.label_join == "common"
    spaces = [SPACES[name] for name in source.split("+")]
    assert union(spaces, config.data.label_join).names == names


def test_a_mixture_has_a_weight_per_source_and_all_labels():
    config = pretrain.get_config("source=imagenet1k+chexpert,weights=3+1,data=/d")
    config.validate()
    assert config.data.weights == (3.0, 1.0) and config.data.label_join == "all"
    for name in paper_runs.names():
        if "imagenet" in name and "+" in name:
            natural, *films = paper_runs.get_config(name).data.weights
            assert natural == sum(films)


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("source=chexpret", "Did you mean 'chexpert'"),
        ("source=mimic+mimic", "different names"),
        ("source=mimic,variant=text", "variant=text: unknown"),
        ("source=mimic,variant=authors_optimized", "only for source=imagenet1k"),
        ("source=mimic+imagenet1k,variant=authors", "no mixture"),
        ("source=mimic+nih,weights=1+x", "weights='1\\+x'"),
    ],
)
def test_wrong_arguments_are_named(arg, message):
    with pytest.raises(UserError, match=message):
        pretrain.get_config(arg)
    with pytest.raises(UserError, match="Did you mean 'nih-r50x1'"):
        paper_runs.get_config("nih-r50x2")


def test_folders_are_those_that_the_commands_build(tmp_path, monkeypatch):
    for name, recipe in datasets.DATASETS.items():
        if recipe.builder == "tfds_import":
            continue  # cannot be planned without the data; below
        for authors in (False, True):
            words = shlex.split(datasets.command(name, "out", authors=authors))
            given = dict(word.lstrip("-").split("=", 1) for word in words[3:])
            job = stages.make_job(
                given["source"],
                input_dir=str(tmp_path),
                options=[given.get("options", "")],
                image_size=int(given.get("image_size", 0)),
            )
            made = stages.dataset_folder(job, Path(given["output_dir"]))
            assert str(made) == datasets.folder(name, "out", authors=authors)
    # As tests/tfrecords_builders/test_tfds_import.py shows.
    flowers = datasets.folder("flowers102", "out", authors=True)
    assert flowers == "out/oxford_flowers102/splits_authors/1.0.0"
    assert datasets.folder("pets", "out", authors=False) == "out/oxford_iiit_pet/default/1.0.0"
    there = datasets.folder("nih", str(tmp_path), authors=True)
    Path(there).mkdir(parents=True)
    datasets.require([there])
    lacking = datasets.folder("mimic", str(tmp_path), authors=False)
    command = datasets.command("mimic", str(tmp_path), authors=False)
    with pytest.raises(UserError, match="1 of 3 datasets missing") as error:
        datasets.require([there, lacking, str(tmp_path)])
    assert f"{lacking}: no such dataset folder, build it with: {command}" in str(error.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape("--output_dir=. --image_size=512")):
        datasets.require([datasets.folder("chexpert", ".", authors=False).removeprefix("./")])


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: path.stem)
def test_the_commands_in_the_headers_of_configs_parse(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = path.read_text().split('"""')[1].replace("\\\n", " ")
    commands = [line.strip() for line in text.splitlines() if "--config=" in line]
    assert commands
    for command in commands:
        script = shlex.split(command)[2]
        assert (ROOT / f"{script.replace('.', '/')}.py").is_file()
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, flag_values=values)
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        flags.DEFINE_bool("dry_run", False, "", flag_values=values)
        for name in ("shots", "seeds"):
            flags.DEFINE_list(name, None, "", flag_values=values)
        values(["script", *shlex.split(command)[3:]])
        values.config.validate()
        assert values.dry_run or values.workdir


def test_a_dry_run_without_data_names_all_that_is_missing(tmp_path):
    arg = f"source=chexpert+mimic,arch=r50x1,data={tmp_path}"
    command = ["-m", "experiments.pretrain", "--dry_run"]
    command += [f"--config=experiments/configs/pretrain.py:{arg}", "--config.data.views=PA,AP"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    (error,) = done.stderr.strip().splitlines()
    for name in ("chexpert", "mimic"):
        assert datasets.folder(name, str(tmp_path), authors=False) in error
        assert datasets.command(name, str(tmp_path), authors=False) in error
    assert '"global_batch_size": 4096' in done.stdout
    assert re.search(r'"views": \[\s*"PA",\s*"AP"\s*\]', done.stdout)
    assert not list(tmp_path.iterdir())
