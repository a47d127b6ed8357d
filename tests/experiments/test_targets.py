"""Configs of the paper's targets, in both variants."""

import pytest

from experiments.configs import finetune
from keras_transfer.core.errors import UserError
from keras_transfer.data import augment


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize("target", finetune.TARGETS)
def test_every_target_is_a_valid_config(target, variant):
    config = finetune.get_config(f"target={target},variant={variant},init=runs/x,shots=5,seed=3")
    config.validate()
    assert (config.seed, config.num_shots, config.data.test_split) == (3, 5, "test")
    assert config.data.oversample == (target in ("flowers102", "covidx"))
    assert config.metric == ("mean_auc" if target == "padchest_cl" else "")
    # Nothing is chosen: only the authors look at the test split while training.
    assert (config.data.val_split == "test") == (variant == "authors")
    assert config.train.select == "last" and config.train.global_batch_size == 128
    assert config.optim.base_lr == 0.001 and config.optim.clipping == 0.01


@pytest.mark.parametrize(
    ("target", "side"),
    [("cifar10", 128), ("cifar100", 128), ("pets", 480), ("padchest", 224), ("", 480)],
)
def test_resolutions_of_the_authors(target, side):
    config = finetune.make(target=target, data="d", variant="authors")
    for text in (config.data.train, config.data.eval):
        pipeline = augment.compose(text.replace("as_weights", "standardize('imagenet')"))
        assert pipeline.output_size == (side, side) and pipeline.channels == 3


def test_flowers_of_the_authors_is_another_folder():
    folders = {finetune.make("flowers102", variant=v).data.dirs for v in ("paper", "authors")}
    assert len(folders) == 2


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("target=flower102", "Did you mean 'flowers102'"),
        ("target=pets,variant=author", "choose paper or authors"),
    ],
)
def test_wrong_names_are_refused(arg, message):
    with pytest.raises(UserError, match=message):
        finetune.get_config(arg)
