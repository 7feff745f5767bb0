# Two commands: `make demo` and `make test`. Each sets up all that it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := pyproject.toml setup.py build_support/make_venv.py build_support/ingot_build.py build_support/native.py $(wildcard ingot/runtime/native/*)
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.PHONY: help demo test test-all fast-tests all-tests lint browser typecheck bench fuzz wheel clean

help:
	@echo 'make demo      set up, compile the bundled model, compare it with ONNX Runtime, run it as an NPU, serve it'
	@echo 'make test      set up, lint, and run the tests'
	@echo 'make test-all  the same with the slow and the networked tests'
	@echo 'make lint      ruff, mypy --strict, import-linter'
	@echo 'make fuzz      judge 100,000 mutants of all that Ingot reads (FUZZ_MUTANTS=N: so many)'
	@echo 'make wheel     build the wheel into dist/'
	@echo 'make clean     remove what the above made'

$(BIN)/python:
	$(PYTHON) build_support/make_venv.py $(VENV)

$(VENV)/.demo: $(SETUP) | $(BIN)/python
	@echo 'installing Ingot and the compiler into $(VENV) (about 300 MB to download, once) ...'
	$(PIP) install --quiet --editable '.[compile,npu,serve,client]'
	@touch $@

$(VENV)/.dev: $(SETUP) | $(VENV)/.demo
	$(PIP) install --quiet --editable '.[compile,npu,dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m examples.demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

browser:
	@sh build_support/install_browser.sh

# Lint keeps one core busy, so it runs beside the tests; where either fails, the whole does.
test test-all: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 lint $(if $(filter test,$@),fast-tests,all-tests)

fast-tests: $(VENV)/.dev browser
	$(PYTEST) -n 2 --dist loadfile -m 'not slow and not network'

all-tests: $(VENV)/.dev browser
	HYPOTHESIS_PROFILE=explore $(PYTEST) -n 2 --dist loadfile

# FUZZ_MUTANTS=20000 judges fewer.
FUZZ_MUTANTS ?= 100000
fuzz: $(VENV)/.dev
	FUZZ_MUTANTS=$(FUZZ_MUTANTS) $(BIN)/python -m tests.fuzz

wheel: $(VENV)/.demo
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
