import json
import re
import shutil

import numpy as np
import pytest

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.core.sampling import BalancedOrder, MixtureOrder
from keras_transfer.data.pipeline import Examples, Slice
from keras_transfer.training.setup import prepare


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__dirs": ("nowhere",)}, "nowhere: no such dataset folder"),
        ({"data__val_split": "valid"}, "no split 'valid'; it has test, train, val"),
        ({"model__name": "bit-r50x2x"}, "bit-r50x2x"),
        ({"model__init": "nowhere.npz"}, "model.init: 'nowhere.npz' is neither"),
        ({"data__train": "decode|resise(32)|value_range(-1, 1)"}, "Did you mean 'resize'"),
        ({"data__train": "decode|resize(side=32)|value_range(-1, 1)"}, r"resize\(size"),
        ({"data__train": "decode|resize_small(32)|value_range(-1, 1)"}, "no fixed size"),
        (
            {"data__eval": "decode|random_crop(8)|value_range(-1, 1)"},
            "data.eval must not be random",
        ),
        ({"schedule__name": "linear"}, "'linear'"),
        ({"schedule__duration": "0 steps"}, "schedule.duration"),
        ({"schedule__warmup": "7 steps"}, "warm-up of 7 steps"),
        ({"train__eval_every": "3 weeks"}, "train.eval_every"),
        ({"data__val_fraction": 0.1}, "the data have a split .val."),
        ({"data__val_fraction": 1e-6, "data__val_split": "held_out"}, "leaves no example of"),
        ({"train__select": "best"}, "needs evaluations: give train.eval_every"),
        ({"train__select": "best", "data__val_split": ""}, "chooses on a validation split"),
        ({"metric": "accurate"}, "metric: Unknown metric 'accurate'. Did you mean 'accuracy'"),
        ({"metric": "auc/3"}, "metric: auc/3 is not one number for multiclass labels"),
        ({"model__freeze_until": "stage5"}, "model.freeze_until: unknown value 'stage5'"),
    ],
)
def test_what_is_wrong_is_known_before_anything_is_built(pretraining, changes, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(pretraining(**changes))
    assert "\n" not in str(error.value)


def test_too_few_examples_for_the_shots(transfer):
    with pytest.raises(UserError, match=r"Too few examples for 500-shot: 0: \d+, 1: \d+"):
        prepare(transfer(shots="500"))


def test_the_hyperrule_fills_in_what_is_left_open(transfer):
    config = transfer(
        data__train="hyperrule",
        data__eval="hyperrule",
        data__mixup=None,
        schedule__name="bit",
        schedule__duration="hyperrule",
        schedule__warmup="0 steps",
        optim__base_lr=0.003,
    )
    setup = prepare(config)
    assert config.data.train == "hyperrule", "the caller's config is not changed"
    assert setup.config.data.train == (
        "decode|resize(160)|random_crop(128)|random_flip|value_range(-1, 1)"
    )
    assert setup.config.data.eval == "decode|resize(128)|value_range(-1, 1)"
    assert setup.config.schedule.duration == "500 steps" and setup.config.data.mixup == 0.0
    np.testing.assert_allclose(
        setup.learning_rate(np.array([0, 50, 100, 200, 201, 499])),
        [0, 0.0015, 0.003, 0.003, 0.0003, 0.000003],
    )


def test_weights_carry_their_normalisation(transfer, tmp_path):
    runs.write_json(
        tmp_path / runs.WEIGHTS_CARD_FILE,
        {
            "arch": "bit-r14x0.25",
            "source": "films",
            "normalisation": "value_range(0, 1)",
            "labels": [],
        },
    )
    (tmp_path / runs.WEIGHTS_FILE).write_bytes(b"")
    config = transfer(model__init=str(tmp_path))
    with pytest.raises(UserError, match=re.escape("trained with 'value_range(0, 1)'")):
        prepare(config)
    config.data.train = config.data.eval = "hyperrule"
    assert prepare(config).train_pipeline.text.endswith("value_range(0, 1)")
    config.model.name = "bit-r26x1"
    with pytest.raises(UserError, match=r"holds bit-r14x0.25, but model.name is bit-r26x1"):
        prepare(config)


def test_a_mixture_trains_under_one_head(pretraining, digits, films):
    config = pretraining(
        data__dirs=(digits, films),
        data__weights=(1.0, 2.0),
        data__label_join="all",
        data__views=("phantom:PA",),
    )
    setup = prepare(config)
    assert setup.labels.is_multilabel and setup.labels.names[:5] == tuple("01234")
    of_films = len(prepare(pretraining(folder=films)).train)
    assert (setup.train.source == 0).sum() == len(prepare(pretraining()).train)
    assert 0 < (setup.train.source == 1).sum() < of_films
    batch = next(iter(setup.train_batches(Slice(global_batch_size=16)).as_numpy_iterator()))
    order = MixtureOrder(setup.train.source, (1.0, 2.0), seed=config.seed)
    np.testing.assert_array_equal(batch["label"], setup.train.label_at(order.indices(0, 16)))
    config.data.label_join = "common"
    with pytest.raises(UserError, match=r"needs data\.label_join=all"):
        prepare(config)


def test_evaluation_does_without_the_datasets_that_lack_the_split(pretraining, digits, tmp_path):
    lacking = tmp_path / "lacking"
    shutil.copytree(digits, lacking)
    info = json.loads((lacking / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] != "val"]
    (lacking / "dataset_info.json").write_text(json.dumps(info))
    config = pretraining(data__dirs=(digits, str(lacking)))
    examples = prepare(config).examples
    alone = prepare(pretraining()).examples
    assert len(examples["val"]) == len(alone["val"])
    assert len(examples["train"]) == 2 * len(alone["train"])
    with pytest.raises(UserError, match=r"lacking.*no split 'val'"):
        prepare(pretraining(data__dirs=(digits, str(lacking)), data__train_split="val"))


def test_linear_scaling_is_optional(pretraining):
    scaled = prepare(pretraining(optim__base_batch_size=256, optim__base_lr=0.16))
    assert scaled.learning_rate(np.arange(6)).max() == pytest.approx(0.16 * 16 / 256)


def test_validation_is_taken_out_of_training_by_patient(transfer, films):
    """The same examples for all seeds and shots, and no patient on both sides."""
    parts = {}
    for seed, shots in ((0, "full"), (1, "full"), (1, "2")):
        config = transfer(folder=films, seed=seed, shots=shots, data__val_split="held_out")
        config.data.val_fraction = 0.2
        parts[seed, shots] = prepare(config).examples
    full = parts[0, "full"]
    whole = len(prepare(transfer(folder=films, data__val_split="")).train)
    assert len(full["train"]) + len(full["held_out"]) == whole
    assert abs(len(full["held_out"]) / whole - 0.2) < 0.05
    assert not set(full["train"].patients()) & set(full["held_out"].patients())
    for examples in parts.values():
        np.testing.assert_array_equal(
            examples["held_out"].example_ids(), full["held_out"].example_ids()
        )
        assert set(examples["train"].example_ids()) <= set(full["train"].example_ids())


def test_oversampling_reads_no_image_for_its_labels(transfer, monkeypatch):
    config = transfer(data__oversample=True)
    monkeypatch.setattr(Examples, "read", lambda *_: pytest.fail("an image was read"))
    setup = prepare(config)
    batches = setup.train_batches(Slice(global_batch_size=16))
    monkeypatch.undo()
    batch = next(iter(batches.as_numpy_iterator()))
    order = BalancedOrder(setup.train.label, seed=config.seed)
    np.testing.assert_array_equal(batch["label"], setup.train.label_at(order.indices(0, 16)))


def test_oversampling_of_findings_is_refused(transfer, films):
    with pytest.raises(UserError, match="have no class to draw by"):
        prepare(transfer(folder=films, data__oversample=True)).train_batches(
            Slice(global_batch_size=16)
        )


def test_as_weights_stands_for_their_normalisation(transfer):
    config = transfer(data__train="decode|random_crop(8)|as_weights|random_flip")
    assert prepare(config).train_pipeline.text.endswith("value_range(-1, 1)|random_flip")
