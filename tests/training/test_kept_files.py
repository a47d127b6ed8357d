"""What a finished transfer leaves, with and without its weights."""

import re
import shutil

import pytest

from keras_transfer import training
from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import UserError
from keras_transfer.training import checkpoints, weights
from keras_transfer.training.setup import prepare
from tests.training.conftest import small


@pytest.fixture(scope="module")
def pair(digits, engines, tmp_path_factory):
    """The same transfer with and without its weights."""
    folder = tmp_path_factory.mktemp("pair")
    config = small(TransferConfig, digits, shots="5", data__test_split="test")
    config.train.checkpoint_every = "2 steps"
    training.transfer(config, folder / "with", engines=engines)
    training.transfer(config, folder / "without", engines=engines, keep_weights=False)
    return folder / "with", folder / "without"


def test_only_the_weights_are_missing(pair):
    files = [{p.relative_to(d) for p in d.rglob("*") if "tfevents" not in p.name} for d in pair]
    assert {str(path) for path in files[0] ^ files[1]} == {runs.WEIGHTS_FILE}
    kept = ("config.json", "result.json", "fewshot.json", "weights.json", "predictions/test.npz")
    for name in kept:
        assert (pair[0] / name).read_bytes() == (pair[1] / name).read_bytes(), name
    assert runs.is_finished(pair[1])


def test_the_weights_are_made_by_repeating_the_run(pair, engines, tmp_path):
    training.transfer(runs.read_config(pair[1]), tmp_path, engines=engines)
    made, wanted = (d / runs.WEIGHTS_FILE for d in (tmp_path, pair[0]))
    assert made.read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize(
    "use",
    [
        lambda run, _: training.evaluate(run, "", "test"),
        lambda run, out: training.export_run(run, out, ("npz",)),
        lambda run, _: weights.find(str(run), "bit-r14x0.25"),
    ],
    ids=["evaluate", "export", "init"],
)
def test_what_needs_the_weights_says_how_to_make_them(pair, tmp_path, use):
    command = f"experiments.finetune --from_run={pair[1]} --workdir=NEW"
    with pytest.raises(UserError, match=rf"not kept .*{re.escape(command)}"):
        use(pair[1], tmp_path / "out")
    shutil.copytree(pair[1], tmp_path / "unfinished")
    (tmp_path / "unfinished" / runs.RESULT_FILE).unlink()
    with pytest.raises(UserError, match="has the run finished"):
        use(tmp_path / "unfinished", tmp_path / "out")


@pytest.mark.parametrize(("keep_every", "left"), [("0 steps", []), ("4 steps", [4])])
def test_checkpoints_go_when_a_transfer_has_finished(transfer, engines, tmp_path, keep_every, left):
    seen = []
    config = transfer(train__checkpoint_every="2 steps", train__keep_every=keep_every)
    folder = tmp_path / runs.CHECKPOINT_DIR
    engine = engines.get(prepare(config).shape, config.runtime)
    train = engine.train

    def watched(*arguments):
        seen.append(checkpoints.steps(folder))
        return train(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "train", watched)
        training.transfer(config, tmp_path, engines=engines)
    assert seen == [[], [2], [2, 4]]
    assert checkpoints.steps(folder) == left
