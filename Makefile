# Everything here runs on a fresh Debian 12, as root, with git, make and python3.11.
# Only package registries are reached: apt, PyPI, the Go module proxy, Maven Central, and npm's for one file.

PYTHON ?= python3.11
BIN := .venv/bin
LAB := $(BIN)/python -m lab
PYTEST := $(BIN)/python -m pytest

# These look at all of the Engine's test containers, so nothing may run beside them.
ALONE := tests/integration/test_run_tests.py
# Those of the loop mostly wait, so others may run beside them.
BESIDE :=
# These stop servers that the others need.
STOPPING := tests/loop/test_servers.py

# Tests start a thousand Python programs: each would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv lab-up lab-status lab-down demo loop loop-tests lint test unit trust manuals browser integration screenshots soak bench bench-rollout bench-trust jenkins-update docs reference clean

help: ## Show this.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: .venv/stamp ## Make .venv, with every command in .venv/bin.

# Made anew only when what is installed into it has changed.
.venv/stamp: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,jenkins,docs,otel]'
	touch $@

lab-up: venv ## Bring the lab up: Docker, a registry, Kubernetes; with LOOP=1 Gerrit, Zuul and Jenkins too. The first time compiles for 12 to 15 minutes on two cores.
	$(LAB) up $(if $(LOOP),--loop)

lab-status: venv ## Show the lab's servers.
	@$(LAB) status

lab-down: venv ## Take the lab down: nothing of it runs any more. What it has on disk stays; see docs/versions.md.
	$(LAB) down

demo: venv ## See a change go from a commit to serving, and back.
	$(LAB) up
	$(LAB) demo

loop: venv ## See a change go from a push to serving, through Gerrit, Zuul and Jenkins.
	$(LAB) up --loop
	$(LAB) loop

loop-tests: venv ## Run the tests against Gerrit, Zuul and Jenkins as well.
	$(LAB) up --loop
	$(PYTEST) -n 5 --dist loadfile --ignore $(STOPPING) tests/loop $(BESIDE)
	$(PYTEST) $(STOPPING)

lint: venv ## Check style, types and the arrows between modules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: venv ## Run the tests that need no server.
	$(PYTEST) -n 4 --dist worksteal tests/unit

trust: venv ## Run the tests that attack the chain of trust, over real git; they need no server either.
	$(PYTEST) -n 4 --dist worksteal tests/trust

manuals: venv ## Run the tests that do what the manuals say, command by command; they need no server either.
	$(PYTEST) -n auto --maxprocesses 4 tests/manuals

browser: venv ## Run the tests that look at pages in Chromium: of recorded runs, and of a demo that is played for them.
	$(LAB) install --extras
	$(LAB) up
	$(PYTEST) -n 3 --dist loadfile tests/browser tests/demo

integration: venv ## Run the tests against the lab's servers.
	$(LAB) install --extras
	$(LAB) up
	$(PYTEST) -n 4 --ignore $(ALONE) tests/integration
	$(PYTEST) $(ALONE)

test: venv ## All that CI runs: install, lint, unit, integration, loop-tests, trust, manuals, browser.
	$(LAB) install --extras --loop
	$(MAKE) lint
	$(MAKE) unit
	$(MAKE) integration
	$(MAKE) loop-tests BESIDE="tests/trust tests/manuals tests/browser tests/demo"

screenshots: venv ## Make the pictures of docs/ anew, from a run of the demo.
	$(LAB) install --extras
	$(LAB) up
	CD_SCREENSHOTS=docs/images $(PYTEST) tests/demo

soak: venv ## Run the long tests: crashes, interruptions, many rollouts.
	$(LAB) install --extras
	$(LAB) up --loop
	$(PYTEST) tests/soak

bench: venv ## Measure, side by side with what one would use instead.
	$(BIN)/python -m bench

bench-rollout: venv ## Measure rollouts, good and broken, side by side, and what many pods cost. Takes some 25 minutes.
	$(LAB) install --extras
	$(LAB) up
	$(BIN)/python -m bench.rollout
	$(BIN)/python -m bench.pods

bench-trust: venv ## Measure what the proof costs: checking a permit, authorizing 100 signed commits. Needs no lab.
	$(LAB) install
	$(BIN)/python -m bench.trust

docs: reference ## Make pages of docs/ in build/docs; a link that leads nowhere is an error.
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --fresh-env --quiet docs build/docs
	@echo build/docs/index.html

reference: venv ## Write docs/reference/ anew, from the code.
	$(BIN)/python docs/make_reference.py

jenkins-update: venv ## Send the job definitions to the Jenkins of JENKINS_URL, JENKINS_USER and JENKINS_TOKEN.
	JENKINS_JOBS=$(CURDIR)/$(BIN)/jenkins-jobs jjb/update

clean: ## Remove what was made in the checkout. The lab's own folder stays; see `make lab-down`.
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .tox
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
