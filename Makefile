# The only set-up anyone types. A fresh machine needs Python 3.11 and make, nothing else.
#
#   make demo    pre-train, transfer and report on this machine, in minutes
#   make test    all tests but those of Slurm
#   make test-slurm   the batch scripts under a real Slurm, where it is installed
#   make lint    style, types and layers
#   make bench   speed of the training step, of reading and of building
#   make lock    resolve requirements.lock again after a change of setup.cfg

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO_FLAGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-slurm lint bench setup lock clean

setup: .venv/installed

.venv/installed: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing into .venv (about 1 minute, 2.5 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup
	$(BIN)/python -m experiments.demo --workdir=demo $(DEMO_FLAGS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slurm: setup
	$(BIN)/python -m pytest tests/cluster -m slurm

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck -x .ci/run cluster/*.sbatch cluster/env/*.sh

bench: setup
	$(BIN)/python -m experiments.benchmark train_step --model=bit-r50x1 --batch=8 --size=128
	$(BIN)/python -m experiments.benchmark train_step --model=bit-r50x1 --batch=8 --size=224
	$(BIN)/python -m experiments.benchmark read
	$(BIN)/python -m experiments.benchmark build

lock: setup
	$(BIN)/uv pip compile setup.cfg --extra cpu --extra dev --extra dicom --extra onnx --no-header \
	  --python-version 3.11 --upgrade -o requirements.lock

clean:
	rm -rf .venv build demo *.egg-info .mypy_cache .pytest_cache .ruff_cache
