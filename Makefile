# The single door: make demo, make test, make lint, make bench.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/python -m
CARGO  := cargo
# Where cargo puts what it builds; a shared cache may be named from outside.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help demo test test-trainer demo-loop clients gpu lint bench build install-check stubs lock clean
.DEFAULT_GOAL := help
# A pipe fails if any part of it does.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

help:
	@echo "make demo           fit three specialists on real data, serve and compare them; replace one under governance"
	@echo "make test           every test, Rust and Python"
	@echo "make test-trainer   tests that need torch and Ray (fetches 0.7 GB the first time)"
	@echo "make demo-loop      traffic shifts, an alarm, a new model is trained, signed for and swapped in"
	@echo "make clients        build docs/clients in five languages and ask a server with each"
	@echo "make gpu            what tests of GPU engines need on a machine without one (100 MB; part of make test)"
	@echo "make lint           mypy strict, ruff, rustfmt, clippy with warnings denied"
	@echo "make bench          every figure of the README (about 40 minutes; S=packed for one)"
	@echo "make install-check  pip install . into a clean environment, and serve from there"
	@echo "make stubs          generate the Python stubs from proto/"
	@echo "make lock           resolve every requirements*.txt anew"

# Locked dependencies, installed again when the lock changes.
$(VENV)/.deps: requirements/dev.txt
	@echo "== setting up $(VENV) (a minute or two, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN) pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt | \
		awk '/Downloading|Installing/ { print; fflush() }'
	@touch $@

# torch, transformers, peft and Ray; without CUDA's libraries, see trainer/cpu_torch.py.
$(VENV)/.trainer: requirements/trainer.txt $(VENV)/.deps
	@echo "== setting up the trainer (0.7 GB, once)"
	@$(RUN) pip install --disable-pip-version-check --require-hashes --no-deps \
		-r requirements/trainer.txt | awk '/Downloading|Installing/ { print; fflush() }'
	@$(RUN) trainer.cpu_torch
	@touch $@

# The extension module and the load generator; cargo knows what is fresh.
build: $(VENV)/.deps
	@echo "== building (some minutes the first time, seconds after)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --uv 2>&1 | \
		awk '!/Resolved|Audited/ { print; fflush() }'
	@$(CARGO) build --release --locked --package sluicegate-loadgen

demo: build
	@$(RUN) bench.demo

test: build gpu
	$(CARGO) test --locked --workspace --quiet
	$(RUN) pytest -q

test-trainer: build $(VENV)/.trainer
	$(RUN) pytest -q -m trainer tests/trainer

demo-loop: build $(VENV)/.trainer
	@$(RUN) bench.demo_loop

# A wheel of pycuda, which builds only where CUDA's headers are; without one those tests are skipped
# and say so. The real libraries' Python layers are only imported, each from a folder of its own.
GPU_WHEELS := $(wildcard $(or $(PYCUDA_WHEELS),../shared/gpu/wheels))
BINDINGS   := $(basename $(notdir $(wildcard requirements/bindings/*.txt)))

gpu: $(VENV)/.gpu

$(VENV)/.gpu: requirements/gpu.txt $(wildcard requirements/bindings/*.txt) $(VENV)/.deps
	@if test -z "$(GPU_WHEELS)"; then \
		echo "== no wheel of pycuda (PYCUDA_WHEELS=DIR): tests of GPU engines are skipped"; \
	elif $(RUN) pip install --disable-pip-version-check --quiet --no-deps --no-index \
			--find-links $(GPU_WHEELS) pycuda && \
		$(RUN) pip install --disable-pip-version-check --quiet --no-deps --require-hashes \
			-r requirements/gpu.txt && \
		for version in $(BINDINGS); do \
			rm -rf build/gpu-bindings/$$version && \
			$(RUN) pip install --disable-pip-version-check --quiet --no-deps --require-hashes \
				-r requirements/bindings/$$version.txt --target build/gpu-bindings/$$version || exit 1; \
		done; then \
		touch $@; \
	else \
		echo "== not all that tests of GPU engines need could be fetched: those that lack it are skipped"; \
	fi

# Part of `make test` too; a language that is not installed is left out, and said so.
clients: build
	$(RUN) pytest -q tests/clients

lint: $(VENV)/.deps
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings
	$(CARGO) clippy --locked --package sluicegate-dataplane --features python --quiet -- -D warnings
	$(RUN) gateway.wire.generate --check

bench: build
	$(RUN) bench $(S)

install-check: build
	$(PYTHON) tests/install/check.py

stubs: $(VENV)/.deps
	$(RUN) gateway.wire.generate

COMPILE := $(RUN) uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
	--quiet
PEERS := $(basename $(notdir $(wildcard requirements/peers/*.in)))

lock: $(VENV)/.deps
	$(COMPILE) pyproject.toml --extra dev --extra bench --extra telemetry -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra trainer --constraints requirements/dev.txt \
		--overrides requirements/no-cuda.txt -o requirements/trainer.txt
	$(COMPILE) docs/clients/python/requirements.in -o docs/clients/python/requirements.txt
	$(COMPILE) requirements/gpu.in -c requirements/dev.txt -o requirements/gpu.txt
	for version in $(basename $(notdir $(wildcard requirements/bindings/*.in))); do \
		$(COMPILE) requirements/bindings/$$version.in -o requirements/bindings/$$version.txt || exit 1; \
	done
	for peer in $(PEERS); do \
		$(COMPILE) requirements/peers/$$peer.in -o requirements/peers/$$peer.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) build target gateway/_native.abi3.so
