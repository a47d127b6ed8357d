"""Signals during the last window of steps, when there is nothing left to stop."""

import contextlib
import signal

import pytest

from keras_transfer import training
from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted
from keras_transfer.training.setup import prepare

WINDOWS = 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("window", [2, WINDOWS])
def test_a_signal_stops_the_run_or_is_for_whoever_listened_before(
    transfer, engines, tmp_path, monkeypatch, number, window
):
    config = transfer()  # of 6 steps, 2 in a window
    engine = engines.get(prepare(config).shape, config.runtime)
    train = engine.train
    seen: list[int] = []
    windows: list[None] = []

    def signalled(*arguments):
        windows.append(None)
        if len(windows) == window:
            signal.raise_signal(number)
        return train(*arguments)

    monkeypatch.setattr(engine, "train", signalled)
    is_last = window == WINDOWS
    before = signal.signal(number, lambda n, _: seen.append(n))
    try:
        with contextlib.nullcontext() if is_last else pytest.raises(Preempted):
            training.transfer(config, tmp_path, engines=engines)
    finally:
        signal.signal(number, before)
    assert len(windows) == window
    assert runs.is_finished(tmp_path) == is_last
    assert seen == ([number] if is_last else [])


def test_where_nobody_listened_the_run_is_finished_and_no_other_begins(
    transfer, engines, tmp_path, monkeypatch
):
    config = transfer()
    engine = engines.get(prepare(config).shape, config.runtime)
    train = engine.train
    windows: list[None] = []

    def signalled(*arguments):
        windows.append(None)
        if len(windows) == WINDOWS:
            signal.raise_signal(signal.SIGUSR1)
        return train(*arguments)

    monkeypatch.setattr(engine, "train", signalled)
    with pytest.raises(Preempted, match=r"SIGUSR1 in the last steps: .* is finished"):
        training.transfer(config, tmp_path, engines=engines)
    assert runs.is_finished(tmp_path)
