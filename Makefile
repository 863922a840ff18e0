# The commands of this repository. They need make and Python 3.11 or newer, and install what else
# they use into .venv.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
# What is installed comes first, and nothing tells it that make has called: tests call make too.
IN_VENV := env -u MAKELEVEL -u MAKEFLAGS PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: help demo test containers docs sim snapshot fuzz bench bench-quick bench-micro bench-trees lock sbom clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/tool.stamp ## Serve a folder over loopback, fetch 256 MiB reliably and a little in plain
	@$(IN_VENV) sh bench/demo.sh

test: $(VENV)/test.stamp ## Run all checks that need no Docker: ruff, mypy and pytest
	@$(IN_VENV) .ci/check --cov --cov-report=term -m 'not container'

containers: $(VENV)/test.stamp ## Run the tests that need a Docker engine
	$(IN_VENV) pytest tests/containers -rs --durations 5

docs: $(VENV)/test.stamp ## Write what documents have from the code: commands, modules
	@$(IN_VENV) python -m tests.documents.cli_page
	@$(IN_VENV) python -m tests.documents.architecture_page

SEEDS ?= 1000
sim: $(VENV)/test.stamp ## Play SEEDS=10000 random transfers on bad networks in memory; SEED=7 again
	@$(IN_VENV) python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

snapshot: $(VENV)/test.stamp ## Play all of tests/sim/capacity.txt and show what changed in it
	@$(IN_VENV) python -m tests.sim.capacity
	@git --no-pager diff --stat -- tests/sim/capacity.txt

MINUTES ?= 5
fuzz: $(VENV)/fuzz.stamp ## Feed mutated datagrams to all decoders and endpoints for MINUTES=5
	@$(IN_VENV) python -m tests.fuzz --minutes $(MINUTES)

bench: $(VENV)/bench.stamp ## Compare with TCP and others between containers, and write a report
	@$(IN_VENV) python -m bench run $(BENCH)

bench-quick: $(VENV)/bench.stamp ## The same in five minutes; BENCH='--where netns' needs no Docker
	@$(IN_VENV) python -m bench run --quick $(BENCH)

bench-trees: $(VENV)/test.stamp ## Fetch and store 100,000 files: time, memory, pings meanwhile
	$(IN_VENV) python -m bench.trees $(TREES)

bench-micro: $(VENV)/test.stamp ## Time the engine's hot functions, against the last time
	$(IN_VENV) pytest bench/micro --benchmark-enable --benchmark-autosave \
	  --benchmark-storage file://bench/reports/micro --benchmark-compare \
	  --benchmark-columns min,median,iqr,rounds --benchmark-sort name

# Nothing of the index that they are asked of gets into them.
LOCK := pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header \
  --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
lock: $(VENV)/supply.stamp ## Choose the versions that the image installs, and note their hashes
	$(IN_VENV) $(LOCK) --extra keys --output-file - pyproject.toml > requirements.new
	$(IN_VENV) $(LOCK) --extra web --constraint requirements.new --output-file - pyproject.toml \
	  > web.new
	$(IN_VENV) $(LOCK) --only-build-deps --build-deps-for wheel --output-file - pyproject.toml \
	  > build.new
	@{ echo '# What the image installs, with hashes: `make lock` writes it.'; \
	  cat requirements.new; } > requirements.lock
	@{ echo '# What the image builds udpft with, with hashes: `make lock` writes it.'; \
	  cat build.new; } > build.lock
	@{ echo '# What the image of the page installs beside, with hashes: `make lock` writes it.'; \
	  cat web.new; } > web.lock
	@rm requirements.new build.new web.new

sbom: $(VENV)/supply.stamp ## List what the image installs as CycloneDX, in dist/sbom.json
	@mkdir -p dist
	$(IN_VENV) cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.json requirements.lock

clean: ## Remove what these commands made
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that all is installed that pyproject.toml asked for when the stamp was made. The
# source is used in place: changing it needs no new installation.
$(VENV)/tool.stamp: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable .
	@$(VENV)/bin/python -m compileall -q udpft
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable '.[test]'
	@touch $(VENV)/tool.stamp $@

$(VENV)/fuzz.stamp: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable '.[test,fuzz]'
	@touch $(VENV)/tool.stamp $(VENV)/test.stamp $@

$(VENV)/supply.stamp: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable '.[supply]'
	@touch $(VENV)/tool.stamp $@

$(VENV)/bench.stamp: pyproject.toml | $(VENV)/pyvenv.cfg
	$(PIP) install --editable '.[bench]'
	@touch $(VENV)/tool.stamp $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'udpft needs Python 3.11 or newer; say where it is: make PYTHON=python3.13' >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '$(PYTHON) makes no virtual environments; on Debian: apt install python3-venv' >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
