import json

import numpy as np
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.optim import hyperrule, make_schedule


@pytest.fixture(scope="module")
def oracle(shared):
    path = shared / "oracles" / "hyperrule" / "hyperrule_oracle.json"
    return json.loads(path.read_text())


def test_learning_rates_equal_the_reference(oracle):
    rows = oracle["lr"]
    assert len(rows) == 456
    for row in rows:
        found = hyperrule.learning_rate(row["step"], row["size"], row["base_lr"])
        if row["lr"] is None:
            assert found is None, row
        else:
            assert found == pytest.approx(row["lr"], rel=1e-12, abs=0), row


def test_schedule_equals_the_reference(oracle):
    for size in {row["size"] for row in oracle["lr"]}:
        rows = [r for r in oracle["lr"] if r["size"] == size and r["lr"] is not None]
        for base_lr in {row["base_lr"] for row in rows}:
            chosen = [row for row in rows if row["base_lr"] == base_lr]
            schedule = make_schedule(
                "bit",
                peak_lr=base_lr,
                total_steps=hyperrule.total_steps(size),
                num_examples=size,
            )
            rates = schedule(np.array([row["step"] for row in chosen]))
            np.testing.assert_allclose(rates, [row["lr"] for row in chosen], rtol=1e-12)


def test_lengths_mixup_and_resolution_equal_the_reference(oracle):
    for row in oracle["schedule"]:
        assert list(hyperrule.supports(row["size"])) == row["supports"]
        assert hyperrule.total_steps(row["size"]) == row["supports"][-1]
    for row in oracle["mixup"]:
        assert hyperrule.mixup_alpha(row["size"]) == row["alpha"]
    for row in oracle["resolution"]:
        assert hyperrule.resolution(*row["hw"]) == (row["resize"], row["crop"])


@pytest.mark.parametrize("num_examples", [10, 50_000, 1_281_167])
@pytest.mark.parametrize("divisor", [1, 5, 10])
def test_a_shortened_run_has_the_same_shape(num_examples, divisor):
    whole = hyperrule.supports(num_examples)
    total = whole[-1] // divisor
    short = hyperrule.supports(num_examples, total)
    assert short[-1] == total
    np.testing.assert_allclose(short, np.array(whole) / divisor, atol=0.5)
    # Scaled exactly: each step has the rate that the whole run has `divisor` times later.
    step = np.arange(0, total, 5)
    np.testing.assert_allclose(
        hyperrule.factor(step, short), hyperrule.factor(step * divisor, whole), rtol=1e-12
    )


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_very_short_runs(total):
    bounds = hyperrule.supports(10, total)
    assert bounds[-1] == total and bounds[0] >= 1
    rates = hyperrule.factor(np.arange(total), bounds)
    assert rates[0] == 0 and np.isfinite(rates).all() and (rates <= 1).all()
    assert hyperrule.learning_rate(total, 10, total_steps=total) is None


@pytest.mark.parametrize(
    "wrong",
    [lambda: hyperrule.supports(0), lambda: hyperrule.supports(10, 0)],
)
def test_wrong_sizes(wrong):
    with pytest.raises(UserError, match="BiT-HyperRule"):
        wrong()
