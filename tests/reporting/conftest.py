"""Run directories as the training package leaves them, with values a test chooses."""

import contextlib
import json
import tarfile
from pathlib import Path

import pytest

from keras_transfer.core import runs
from keras_transfer.core.config import DataConfig, ModelConfig, PretrainConfig, TransferConfig
from keras_transfer.reporting import published
from keras_transfer.reporting.figures import drawing


class RunFolder:
    """A folder of runs; every method writes one run and returns its directory."""

    def __init__(self, path: Path):
        self.path = path

    def transfer(
        self,
        target,
        source,
        shots,
        seed,
        value,
        *,
        arch="r14x0.25",
        metric="accuracy",
        split="test",
        num_examples=360,
        extra=(),
        name=None,
        commit="0123456789abcdef",
        finished=True,
    ):
        config = TransferConfig(
            name=target,
            seed=seed,
            shots="full" if shots is None else str(shots),
            data=DataConfig(dirs=(f"data/{target}",)),
            model=ModelConfig(name=f"bit-{arch}"),
        )
        directory = self.path / (name or f"{target}.{source}.{arch}.{shots}.{seed}")
        self._start(directory, config, {"code": {"commit": commit, "diff": ""}})
        if finished:
            values = {metric: value, **dict(extra)}
            rows = [
                runs.ResultRow(
                    run_id="0",
                    source=source,
                    arch=arch,
                    target=target,
                    shots=shots,
                    seed=seed,
                    split=split,
                    metric=key,
                    value=number,
                    num_examples=num_examples,
                    step=500,
                )
                for key, number in values.items()
            ]
            runs.write_result(directory, rows, primary_metric=metric, undefined={})
        return directory

    def pretrain(self, source, num_train_examples, *, arch="r14x0.25", seed=0):
        config = PretrainConfig(
            name=source, seed=seed, data=DataConfig(dirs=(f"data/{source}",)),
            model=ModelConfig(name=f"bit-{arch}"),
        )  # fmt: skip
        directory = self.path / f"pretrain.{source}.{arch}.{seed}"
        facts = {"code": {"commit": "0123456789abcdef"}, "num_train_examples": num_train_examples}
        self._start(directory, config, facts)
        row = runs.ResultRow(
            run_id="0", source=source, arch=arch, target=source, shots=None, seed=seed,
            split="val", metric="accuracy", value=0.9, num_examples=100, step=1000,
        )  # fmt: skip
        runs.write_result(directory, [row], primary_metric="accuracy", undefined={})
        return directory

    def _start(self, directory, config, facts):
        runs.write_config(directory, config)
        runs.write_json(directory / runs.MANIFEST_FILE, {"digest": "0", "starts": [facts]})

    def edit(self, directory, file, change):
        """Rewrites a JSON file of a run."""
        content = json.loads((directory / file).read_text())
        change(content)
        (directory / file).write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs")


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """One folder for all tests of a module that only read."""
    return RunFolder(tmp_path_factory.mktemp("shared") / "runs")


@pytest.fixture(scope="session")
def only_svg():
    """A context in which figures are drawn as a page needs them: png and pdf take twice as long."""

    @contextlib.contextmanager
    def context():
        render = drawing._render
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                drawing, "_render", lambda c, kind: render(c, kind) if kind == "svg" else b""
            )
            yield

    return context


@pytest.fixture(scope="session")
def primary(tmp_path_factory):
    """The authors' results in the metrics that tables show: a copy, see its README."""
    folder = tmp_path_factory.mktemp("primary")
    golden = Path(__file__).parents[1] / "golden" / "paper"
    with tarfile.open(golden / "published.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return published.collect(folder)
