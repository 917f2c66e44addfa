# The one door for people and for CI. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
TARGETS ?= cpu gpu
IMAGES ?= build/images

.DEFAULT_GOAL := help
.PHONY: help serve test check format protos bench gpu-check lock image-check package-check \
	deploy-check ray-check sbom audit clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

bench: $(VENV)/.dev  ## measure most of what docs/benchmarks.md records: a quarter of an hour at least, an idle machine
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.sample
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.image_parts
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.monitor
	$(BIN)/python -m benchmarks.export

# With a GPU in an environment of its own: onnxruntime and onnxruntime-gpu are one module.
gpu-check: $(if $(shell command -v nvidia-smi),$(VENV)-gpu/.gpu,$(VENV)/.dev)  ## doctor and benchmarks on a GPU, as a record: a quarter of an hour at least
	$(<D)/bin/python -m benchmarks.gpu_check $(ARGS)

lock: $(VENV)/.release  ## pin what the images install, with hashes; ARGS=--upgrade for the newest
	$(BIN)/python -m scripts.lock $(ARGS)

image-check: $(VENV)/.serve  ## build TARGETS="cpu gpu" with buildah, run and call them; as root
	bash scripts/image_build.sh $(IMAGES) $(TARGETS)
	$(BIN)/python -m scripts.image_check $(IMAGES) $(TARGETS)

package-check: $(VENV)/.release  ## build wheel and sdist, install and use them in empty environments
	$(BIN)/python -m scripts.package_check $(ARGS)

deploy-check: $(VENV)/.release  ## lint the Dockerfile, compose.yaml and the workflows
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

# In an environment of its own: Ray brings some 60 packages that nothing else needs.
ray-check: $(VENV)-ray/.ray  ## test deploy/ray with two real replicas of Ray Serve: some minutes
	$(<D)/bin/python -m pytest tests/deploy/test_ray_*.py tests/ganagerie/test_sample_ray.py $(ARGS)

sbom: $(VENV)/.release  ## CycloneDX bills of materials of the images, into build/sbom
	mkdir -p build/sbom
	for name in cpu gpu train; do \
		$(BIN)/cyclonedx-py requirements requirements/$$name.txt --pyproject pyproject.toml \
			--output-reproducible --output-file build/sbom/$$name.json || exit 1; done

audit: $(VENV)/.release  ## look for known vulnerabilities in what the images install
	for name in cpu gpu train; do \
		$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$name.txt \
			|| exit 1; done

clean:  ## remove the environment and everything that tools left behind
	rm -rf $(VENV) $(VENV)-gpu $(VENV)-ray build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Serving needs no torch; testing does.
$(VENV)/.serve: EXTRAS := cpu
$(VENV)/.dev: EXTRAS := cpu,train,dev
$(VENV)-gpu/.gpu: EXTRAS := gpu,train,dev
$(VENV)-ray/.ray: EXTRAS := cpu,ray
$(VENV)-ray/.ray: TOOLS := 'pytest>=9,<10' 'onnx>=1.17'
$(VENV)/.release: EXTRAS := release
$(VENV)/.serve $(VENV)/.dev $(VENV)/.release $(VENV)-gpu/.gpu $(VENV)-ray/.ray: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]' $(TOOLS)
	@touch $@
