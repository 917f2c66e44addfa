# The one door for people and for CI. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help serve test check format protos bench gpu-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve  ## set up, then serve the bundled zoo: gRPC on 50051, HTTP on 8080
	@exec $(BIN)/ganagerie serve $(ARGS)

test: $(VENV)/.dev check  ## set up, then check and test everything
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(VENV)/.dev  ## regenerate the gRPC stubs
	$(BIN)/python -m protos.generate

bench: $(VENV)/.dev  ## measure what docs/benchmarks.md records: some minutes, an idle machine
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.sample
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.image_parts
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.monitor
	$(BIN)/python -m benchmarks.export

# With a GPU in an environment of its own: onnxruntime and onnxruntime-gpu are one module.
gpu-check: $(if $(shell command -v nvidia-smi),$(VENV)-gpu/.gpu,$(VENV)/.dev)  ## doctor and benchmarks on a GPU, as a record: some minutes
	$(<D)/bin/python -m benchmarks.gpu_check $(ARGS)

clean:  ## remove the environment and everything that tools left behind
	rm -rf $(VENV) $(VENV)-gpu build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Serving needs no torch; testing does.
$(VENV)/.serve: EXTRAS := cpu
$(VENV)/.dev: EXTRAS := cpu,train,dev
$(VENV)-gpu/.gpu: EXTRAS := gpu,train,dev
$(VENV)/.serve $(VENV)/.dev $(VENV)-gpu/.gpu: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@
