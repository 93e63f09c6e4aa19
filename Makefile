# What there is to run: `make help`. Everything is built into .venv; running a target twice is quick.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Options for cargo, for example --locked.
CARGO_FLAGS ?=
PYTEST_FLAGS ?=
# A model folder or hub id, a JSON Schema file and a prompt for `make demo`.
export MODEL SCHEMA PROMPT

UV := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet
STAMPS := $(VENV)/.stamps
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -not -path '*/target/*' -o -name Cargo.toml -not -path '*/target/*')

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# --- environment ------------------------------------------------------------------------------------------------------

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit("fairlead needs Python 3.11 or newer; name one with PYTHON=") if sys.version_info < (3, 11) else None'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@mkdir -p $(STAMPS) && touch $@

# The extras' packages come first and the package itself by maturin, so that a change of the code installs nothing.
$(STAMPS)/demo: $(STAMPS)/venv pyproject.toml .ci/constraints.txt
	@echo "installing what the demo needs"
	@$(UV) --constraint .ci/constraints.txt --extra cli --extra transformers -r pyproject.toml 'maturin>=1.9.4,<2'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv pyproject.toml .ci/constraints.txt
	@echo "installing what development needs"
	@$(UV) --constraint .ci/constraints.txt --extra dev -r pyproject.toml
	@touch $(STAMPS)/demo $@

$(STAMPS)/build: pyproject.toml $(RUST_SOURCES) | $(STAMPS)/demo
	@echo "building the extension (release)"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --uv --quiet $(CARGO_FLAGS)
	@touch $@

.PHONY: dev
dev: $(STAMPS)/dev ## Create .venv with everything for development, and build into it
	@$(MAKE) --no-print-directory $(STAMPS)/build

# --- use --------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(STAMPS)/demo $(STAMPS)/build ## Run the main job; MODEL= SCHEMA= PROMPT= for a real model
	@$(BIN)/fairlead demo $${MODEL:+--model "$$MODEL"} $${SCHEMA:+--schema "$$SCHEMA"} $${PROMPT:+--prompt "$$PROMPT"}

# --- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test test-rust test-python
test: test-rust test-python ## Run all tests: Rust, doctests, Python

test-rust: ## Run the Rust tests
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --no-tests=pass $(CARGO_FLAGS); \
	else \
		cargo test --workspace --lib --bins --tests $(CARGO_FLAGS); \
	fi
	@cargo test --package fairlead-core --doc --quiet $(CARGO_FLAGS)

test-python: dev ## Run the Python tests; PYTEST_FLAGS= for options
	@$(BIN)/python -m pytest -q $(PYTEST_FLAGS)

.PHONY: test-vllm
test-vllm: ## Run the tests against vLLM, in an environment of its own
	@VENV=.venv-vllm PYTHON=$(PYTHON) .ci/test-vllm $(PYTEST_FLAGS)

.PHONY: test-litellm
test-litellm: dev ## Run the tests against LiteLLM, which asks for an older openai, in an environment of its own
	@VENV=.venv-litellm UV=$(abspath $(BIN))/uv PYTHON=$(abspath $(BIN))/python .ci/test-litellm $(PYTEST_FLAGS)

# --- checks -----------------------------------------------------------------------------------------------------------

.PHONY: fmt lint lint-rust lint-python
fmt: $(STAMPS)/dev ## Format all code
	@cargo fmt --all
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

lint: lint-rust lint-python ## Run all checks: formats, clippy, ruff, mypy, stubtest, layers

lint-rust: ## Check the Rust code
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet $(CARGO_FLAGS) -- -D warnings

lint-python: dev ## Check the Python code, the stubs and the layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/python -m mypy
	@$(MAKE) --no-print-directory stubs
	@$(BIN)/python .ci/layers.py

.PHONY: stubs
stubs: dev ## Hold python/fairlead/_core.pyi against the built extension
	@cd python && $(abspath $(BIN))/python -m mypy.stubtest fairlead._core --mypy-config-file ../pyproject.toml --concise

# --- measurements -----------------------------------------------------------------------------------------------------

$(STAMPS)/bench: $(STAMPS)/dev
	@echo "installing the peers"
	@$(UV) --constraint .ci/constraints.txt --group bench
	@touch $@

.PHONY: bench
bench: dev $(STAMPS)/bench ## Measure side by side with the peers
	@for script in benches/python/*.py; do [ -e "$$script" ] || continue; echo "== $$script"; $(BIN)/python "$$script"; done

.PHONY: bench-rust
bench-rust: ## Measure the engine's parts by themselves (criterion)
	@cargo bench --package fairlead-core $(CARGO_FLAGS)

.PHONY: fuzz
FUZZ_SECONDS ?= 60
fuzz: ## Run each fuzz target for FUZZ_SECONDS=60
	@.ci/fuzz $(FUZZ_SECONDS)

.PHONY: clean
clean: ## Remove the environments and what was built
	@rm -rf $(VENV) .venv-litellm .venv-vllm target rust/fuzz/target dist python/fairlead/_core*.so python/fairlead/_core*.pyd
