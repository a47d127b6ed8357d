import re

import numpy as np
import pytest

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
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


def test_linear_scaling_is_optional(pretraining):
    scaled = prepare(pretraining(optim__base_batch_size=256, optim__base_lr=0.16))
    assert scaled.learning_rate(np.arange(6)).max() == pytest.approx(0.16 * 16 / 256)
