# The single door: make demo, make test, make lint, make bench.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint bench build stubs lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   fit two specialists on real data, serve them, load them, report"
	@echo "make test   every test"
	@echo "make lint   mypy strict, ruff, rustfmt, clippy"
	@echo "make bench  the comparison with grpcio and every figure of the README"

# Locked dependencies; made again when the lock changes.
$(VENV)/.deps: requirements/dev.txt
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	@touch $@

# The extension module and the load generator; cargo knows what is fresh.
build: $(VENV)/.deps
	@$(BIN)/python -m gateway.build
