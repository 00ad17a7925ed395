# Every target in one line; `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made
# Tests start the shipper hundreds of times: bytecode is kept. They also meet what people meet, a buffered
# standard output, whatever the environment says
export PYTHONDONTWRITEBYTECODE :=
export PYTHONUNBUFFERED :=

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## make .venv with every dependency, locked by hash
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python >= 3.11: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python has no venv: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## ship this machine into a real Elasticsearch and watch it come back (ARGS="--ticks 5")
	@mkdir -p build && $(BIN)/shipper demo --report build/report.html $(ARGS)

# Those that take longest begin first
PARTS := nodes servers faults kernel quick types docs lint
test: setup  ## everything: make check, real Elasticsearch of both versions, faults, real cgroups, containers and nodes
	@echo "Grafana's packages come first. Then all parts run beside each other; each is shown at its end."
	@$(BIN)/python tests/support/grafanacode.py
	@$(MAKE) --no-print-directory --jobs --keep-going --output-sync=target $(PARTS)

BIG := -m "es or root or bench"
servers:
	$(BIN)/pytest -n 3 --dist loadfile $(BIG) $(ARGS) tests/es

faults:
	$(BIN)/pytest -n 2 --dist loadfile $(BIG) $(ARGS) tests/fault

nodes:
	$(BIN)/pytest -n 2 --dist loadfile $(BIG) $(ARGS) tests/nodes

kernel:
	$(BIN)/pytest $(BIG) --ignore=tests/es --ignore=tests/fault --ignore=tests/nodes $(ARGS)

fuzz: setup  ## each parser on 10,000 damaged inputs, each collector on 2,000: for the night
	FUZZ=10000 $(BIN)/pytest -m fuzz $(ARGS)

check: setup  ## the quick part: lint, types, rendered files, pure, golden and contract tests
	@$(MAKE) --no-print-directory --jobs --keep-going --output-sync=target lint types quick docs

lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/shipper render --check

types:
	$(BIN)/mypy

quick:
	$(BIN)/pytest -n 3 --dist worksteal -m "not es and not root and not bench" $(ARGS)

coverage: setup  ## the quick tests with the share of the code that they run
	@$(MAKE) --no-print-directory quick ARGS="--cov=shipper $(ARGS)"

docs: setup  ## build/docs as HTML, with warnings as errors; make check includes it
	$(BIN)/sphinx-build -q -W -E -b html -c docs . build/docs

image: setup  ## the image for the nodes: build/shipper-VERSION.tar and -oci.tar (needs mmdebstrap)
	@$(BIN)/python -m shipper.deploy.image.build $(ARGS)

release: setup  ## everything that people install, in dist/: wheel, deb, rpm, images, zipapp, with checksums (needs mmdebstrap)
	@$(BIN)/python -m shipper.release $(ARGS)

bench: setup  ## what the agent costs here, as root: per stage, against a C floor, instructions (bench/README.md has more)
	$(BIN)/python -m bench.agent $(ARGS)
	$(BIN)/python -m bench.instructions

lock: setup  ## update the locked dependencies in requirements/
	for extras in "run:" "dev:--extra fast --extra view --extra notify --extra local --extra release --extra dev"; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --allow-unsafe --no-strip-extras --no-header $${extras#*:} \
	    --output-file requirements/$${extras%%:*}.txt pyproject.toml; done

clean:  ## remove what make made here (the download cache stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

.PHONY: help setup demo test servers faults nodes kernel fuzz check lint types quick coverage docs bench image release lock clean
