"""A sweep's worker whose cells do what their names say, without TensorFlow."""

import os
import signal
import sys
import time
import types
from pathlib import Path

from experiments import _main
from experiments.sweeps import worker
from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import UserError


def _transfer(config: TransferConfig, folder: Path, *, engines: object, keep_weights: bool) -> None:
    log = os.open(folder.parent / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(log, f"{folder.name} {os.getpid()}\n".encode())
    os.close(log)
    first = not (folder / "tried").exists()
    (folder / "tried").touch()
    match config.name:
        case "wrong input":
            raise UserError("this will never do")
        case "always broken":
            raise RuntimeError("no such luck")
        case "broken once" if first:
            raise RuntimeError("not yet")
        case "killed once" if first:
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            time.sleep(0.005)
    row = runs.ResultRow(
        run_id="0",
        source="scratch",
        arch="r14x0.25",
        target=config.name,
        shots=1,
        seed=config.seed,
        split="test",
        metric="accuracy",
        value=0.5,
        num_examples=10,
        step=1,
    )
    runs.write_result(folder, [row], primary_metric="accuracy", undefined={})


if __name__ == "__main__":
    _main.training = lambda: types.SimpleNamespace(transfer=_transfer, EngineCache=lambda: None)
    sys.argv = sys.argv[:1]
    _main.run(worker.main, tensorflow=False)
