# One line of help per target is what follows `##`. Needs git, GNU make and Python >= 3.11.
MAKEFILE := $(lastword $(MAKEFILE_LIST))
ifneq ($(dir $(MAKEFILE)),./)
# Called from elsewhere (make -f path/to/Makefile test): do the same from the repository's root.
$(or $(firstword $(MAKECMDGOALS)),help) $(wordlist 2,99,$(MAKECMDGOALS)):
	@$(MAKE) --no-print-directory -C $(dir $(MAKEFILE)) $@
else

CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# Modules are compiled as they are imported: compiling all that was installed takes as long again.
INSTALL := $(PIP) install --quiet --disable-pip-version-check --no-compile
# Compiled Python is kept: without it each worker and each command compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=
# BUDGET=2 doubles what a test may cost, for a slow machine.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(BUDGET),--budget $(BUDGET))
BENCHMARKS = $(sort $(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup others demo test check verify bench docs lint clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

setup: $(VENV)/.installed-test ## install into .venv, with what tests and lint need (once, and when pyproject.toml changes)

demo: $(VENV)/.installed ## gradient descent against gradient flow on real digits, with a report (a minute)
	$(BIN)/thalweg diagnose digits --model mlp:64-64 --activation tanh --loss cross-entropy --step-size 0.1 --out runs/demo

others: setup ## install Flax, Keras and Dask beside it: tests of what they bring skip without them
	@$(INSTALL) -e '.[flax,keras,dask]' || echo "Flax, Keras or Dask cannot be had here: their tests skip"

test: setup ## the fast tests: every part's core (about ten minutes on two cores, less the next time)
	$(PYTEST) -m "not slow and not thorough"

check: setup ## the thorough tests: planted faults, hostile input, campaigns (about 25 minutes)
	$(PYTEST) -m "thorough and not slow"

verify: setup ## the slow tests, then every claim of every study (long)
	$(PYTEST) -m slow
	@mkdir -p runs
	$(BIN)/thalweg verify --json runs/verify.json

bench: $(VENV)/.installed-bench ## every benchmark of benchmarks/ (installs PyTorch to compare with)
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

docs: $(VENV)/.installed-docs ## the documentation, into site/
	$(BIN)/zensical build --clean --strict

lint: setup ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove .venv, caches and what was built (never runs/)
	rm -rf $(VENV) build dist site .cache .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/pip:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null; then exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "thalweg needs Python 3.11 or newer; found $$($(firstword $(CANDIDATES)) --version 2>&1 || echo none)." \
	  "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1

# Editable, so that one environment serves the demo, the tests and a change to the source.
$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[test,lint,parquet,netcdf]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[bench]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/pip
	$(INSTALL) -e '.[docs,lint]'
	@touch $@

endif
