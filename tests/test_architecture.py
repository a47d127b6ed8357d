"""What import-linter cannot say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("keras_transfer/**/*.py")), ids=lambda p: p.stem)
def test_the_library_knows_no_flags_and_prints_nothing(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "absl":
            assert [alias.name for alias in node.names] == ["logging"]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print"


@pytest.mark.parametrize(
    "statement",
    [
        "import keras_transfer.data, keras_transfer.models, keras_transfer.training",
        "import keras_transfer.data.dataset, keras_transfer.optim.schedules",
        "import keras_transfer.evaluation.metrics, keras_transfer.reporting.report",
        "from tfrecords_builders import build, stages; stages.sources.names()",
        "from experiments import report; from experiments.configs import demo, finetune, smoke",
    ],
)
def test_these_start_no_tensorflow(statement):
    code = f"{statement}\nimport sys; assert 'tensorflow' not in sys.modules, 'TensorFlow started'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
