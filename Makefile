# What people type. `make demo` and `make test` work from a bare clone with Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEV_EXTRAS := cpu,dicom,report,training,export,evaluation,cluster,dev
# the networks as OpenVINO loads them fastest; they belong to just these models and its version
GRAPHS := $(BIN)/python -m attention_dmfnet.model.openvino_graphs models
CT ?=

# The CUDA build of ONNX Runtime, for tests of where it places networks; no GPU is needed. Both builds are one module, so
# it lies beside the environment. A machine that there is no wheel for goes without, and these tests skip.
ONNXRUNTIME_GPU := .cache/onnxruntime-gpu

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check format fuzz kills cluster-soak audit sbom container-test export bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.dev  ## environment for development: all that the tests and checks need

demo: $(VENV)/.demo  ## label a phantom CT (or yours: make demo CT=path) and draw it into demo_output/
	$(BIN)/python -m evaluation demo $(if $(CT),--ct "$(CT)") --to demo_output

# Training in a process of its own: in one that had built TensorRT plans before, it ended in a segmentation fault once.
test: check $(ONNXRUNTIME_GPU)/.ready  ## all checks, then all tests
	$(BIN)/python -m pytest tests/engine tests/evaluation tests/export
	$(BIN)/python -m pytest --ignore=tests/engine --ignore=tests/evaluation --ignore=tests/export

check: $(VENV)/.dev  ## style, types, import layers, shell and Dockerfile lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck -s sh predict.sh evaluation/peers/install.sh
	$(BIN)/shellcheck cluster/machines/slurm.sh
	$(BIN)/shellcheck .ci/run .ci/sbom tests/container/run.sh $(wildcard evaluation/peers/*.sh)

format: $(VENV)/.dev  ## sort imports and lay out the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

container-test:  ## build the image and run the organisers' command in it
	bash tests/container/run.sh

MINUTES ?= 5
KILLS ?= 200
IMAGE ?= attentiondmfnet

fuzz: $(VENV)/.dev  ## read files that are a little wrong, with every reader: make fuzz [MINUTES=30]
	PYTHONPATH=.:engine $(BIN)/python -m tests.fuzz --minutes $(MINUTES)

kills: $(VENV)/.dev  ## end runs at random moments, and see that nothing partial is left: make kills [KILLS=200]
	PYTHONPATH=.:engine KILLS=$(KILLS) $(BIN)/python -m pytest tests/engine/test_kills.py

CASES ?= 200

cluster-soak: $(VENV)/.dev  ## label on two nodes of Ray while workers, a node and the coordinator are killed: [CASES=200]
	PYTHONPATH=.:engine $(BIN)/python -m tests.cluster.soak --cases $(CASES)

audit: $(VENV)/.supply  ## known weaknesses of the exact versions, where PyPI's service can be reached
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

sbom: $(VENV)/.supply  ## what is in an image, as CycloneDX: make sbom IMAGE=attentiondmfnet
	.ci/sbom $(IMAGE) sbom.json

WEIGHTS := models/coarse.safetensors models/fine.safetensors
REAL_SCANS ?= ../shared/data/ct

export: $(VENV)/.dev  ## rebuild graphs and manifest from the weights in models/, with parity on real scans (REAL_SCANS=folder)
	$(BIN)/python -m export onnx $(WEIGHTS) --to models --card models/MODEL_CARD.md --measured models/measured.json
	$(BIN)/python -m export parity models $(REAL_SCANS) --table docs/parity.md
	$(GRAPHS)

PEERS := .cache/peers-venv
RUNS ?= 3

bench: $(VENV)/.dev $(PEERS)/.ready  ## ours and the peers in turns: make bench [CT=path] [RUNS=3]
	$(BIN)/python -m evaluation bench $(if $(CT),"$(CT)") --runs $(RUNS) --peers-python $(PEERS)/bin/python --to bench_output

# The peers live in an environment of their own: what they need must not decide what we need.
$(PEERS)/.ready: evaluation/peers/requirements.txt evaluation/peers/install.sh
	PYTHON=$(PYTHON) sh evaluation/peers/install.sh $(PEERS)
	@touch $@

clean:  ## remove what these commands made
	rm -rf $(VENV) demo_output bench_output latency_output build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# The stamps below make a second call instant; a change of pyproject.toml or constraints.txt installs again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The lean environment of the demo: the engine with its CPU runtime, and Pillow for the picture. No torch.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[cpu,report]'
	$(GRAPHS)
	@touch $@

# Holds everything that the demo needs, hence the second stamp.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[$(DEV_EXTRAS)]'
	$(GRAPHS)
	@touch $@ $(VENV)/.demo

$(ONNXRUNTIME_GPU)/.ready: constraints.txt | $(BIN)/python
	rm -rf $(ONNXRUNTIME_GPU)
	-$(INSTALL) --no-deps --target $(ONNXRUNTIME_GPU)/site onnxruntime-gpu && touch $@

# Not needed to develop: what looks at the versions and at the image.
$(VENV)/.supply: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[supply]'
	@touch $@
