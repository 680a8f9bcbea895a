# Two commands: `make demo` draws, `make test` runs the suite. Both make the environment first, in .venv/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format clean

demo: .venv/.ready
	$(BIN)/mmgen demo

test: .venv/.ready-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8

lint: .venv/.ready-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/.ready-dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mmgen needs Python 3.11 or newer; give one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/.ready: .venv/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.ready-dev: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[web,dev]"
	touch $@

clean:
	rm -rf .venv
