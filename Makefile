# Two commands do everything: `make demo` (the whole chain on this machine) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint types imports check bench wrong-inputs clean

$(STAMP): pyproject.toml constraints.txt
	@echo "[understudy] installing into $(VENV) (torch first, pinned by constraints.txt)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[rtx]' || \
		echo "[understudy] tensorrt-rtx is not available here: the demo skips its build"
	@touch $@

demo: $(STAMP)
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

test: $(STAMP)
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)
	@$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports

check: lint types imports

bench: $(STAMP)
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

wrong-inputs: $(STAMP)
	@$(BIN)/python -m tests.integration.wrong_inputs

clean:
	rm -rf $(VENV) demo build dist
