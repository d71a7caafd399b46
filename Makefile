# make demo                     install, run everything on videos made by the project, show what it gained
# make demo SOURCE=some/folder  the same on your own videos; or s3://bucket/folder, or a list of paths
# make test                     install if needed, run the test suite
# Every other target is listed by `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
SOURCE ?=
export SOURCE
# Threads that spin for long while they wait starve each other on a busy machine.
export GOMP_SPINCOUNT := 10000
# Whatever is started here finds this environment's programs first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo run promote results test fuzz lint clean mlflow prefect

help:
	@echo 'make demo [SOURCE=folder]  install, run everything, register the model, show the gain; folder, URL or list'
	@echo 'make run                   bring every output up to date, and nothing that already is'
	@echo 'make promote               register the model, and crown it champion if it is better'
	@echo 'make results               show the last measurement and where to look'
	@echo 'make mlflow, make prefect  serve their pages of this project on 127.0.0.1'
	@echo 'make test, make lint       the test suite; ruff and mypy'
	@echo 'make fuzz                  5,000 damaged containers through ingest and frames: minutes'
	@echo 'make clean                 remove what runs made (data, models, reports, caches), keep the registry'
	@echo 'videossr --help            everything else (in .venv/bin)'

demo: $(STAMP)
	@if [ -n "$$SOURCE" ]; then videossr use -- "$$SOURCE"; fi
	@python -m flows.pipeline --promote
	@videossr results

run: $(STAMP)
	@python -m flows.pipeline

promote: $(STAMP)
	@python -m flows.promote

results: $(STAMP)
	@videossr results

mlflow prefect: $(STAMP)
	@videossr ui $@

test: $(STAMP)
	@python -m pytest

fuzz: $(STAMP)
	@VIDEOSSR_MUTATIONS=5000 python -m pytest -m fuzz tests/test_fuzz.py

lint: $(STAMP)
	@ruff check .
	@ruff format --check .
	@mypy

clean:
	rm -rf data models reports work .dvc/cache .dvc/tmp dvc.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The newest Python that the versions in constraints.txt are built for.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true); \
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then \
	    echo 'Python 3.11, 3.12 or 3.13 is needed: install it (for example apt install python3.11 python3.11-venv)' >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv .venv || { echo 'the venv module is missing: apt install python3-venv' >&2; exit 1; }
	@echo 'installing into .venv: the first time, some minutes and about 7 GB'
	@python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
