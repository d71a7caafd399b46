# make demo                     install, run everything on synthetic videos, print the gain
# make demo SOURCE=some/folder  the same on your own videos: a folder, s3://bucket/folder, or a list of paths
# make test                     install if needed, run the test suite
# `make help` lists the other targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
SOURCE ?=
ADVISORIES := api.osv.dev
export SOURCE
# Waiting threads that spin too long slow down a busy machine (docs/log.md).
export GOMP_SPINCOUNT := 10000
# Commands below find the programs of this environment first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo run promote recheck results test fuzz gpu-check lint audit-packages hooks clean mlflow prefect up down status

help:
	@echo 'make demo [SOURCE=folder]  install, run everything, register the model, print the gain; folder, URL or list'
	@echo 'make run                   bring every output up to date; skip stages that are up to date'
	@echo 'make promote               register the model, and make it the champion if it is better'
	@echo 'make recheck               ask the champion the present VIUBench questions; take it back if it fails'
	@echo 'make results               print the last scores and the addresses of the reports'
	@echo 'make mlflow, make prefect  serve the pages of MLflow or Prefect for this project on 127.0.0.1'
	@echo 'make up, down, status      start, stop or show all pages, with workers that run the deployments of prefect.yaml'
	@echo 'make test, make lint       run the tests; run ruff and mypy, and audit-packages where there is a network'
	@echo 'make audit-packages        look up known vulnerabilities of the versions in constraints.txt'
	@echo 'make hooks                  check every commit before it is made: ruff, mypy, layers'
	@echo 'make fuzz                  run ingest and frames on 5,000 damaged containers: minutes'
	@echo 'make gpu-check             on a machine with a GPU: tests, speed and profile, in under ten minutes'
	@echo 'make clean                 remove the outputs of runs (data, models, reports, caches), keep the registry'
	@echo 'videossr --help            list the other commands (in .venv/bin)'

demo: $(STAMP)
	@if [ -n "$$SOURCE" ]; then videossr use -- "$$SOURCE"; fi
	@python -m flows.pipeline --promote
	@videossr results

run: $(STAMP)
	@python -m flows.pipeline

promote: $(STAMP)
	@python -m flows.promote

recheck: $(STAMP)
	@python -m flows.recheck

results: $(STAMP)
	@videossr results

mlflow prefect: $(STAMP)
	@videossr ui $@

up down status: $(STAMP)
	@videossr $@

test: $(STAMP)
	@python -m pytest

fuzz: $(STAMP)
	@VIDEOSSR_MUTATIONS=5000 python -m pytest -m fuzz tests/ingest/test_fuzz.py

gpu-check: $(STAMP)
	@python -m bench.gpu_check

lint: $(STAMP)
	@ruff check .
	@ruff format --check .
	@mypy
	@if python -c "import socket; socket.create_connection(('$(ADVISORIES)', 443), 5)" 2> /dev/null; then $(MAKE) audit-packages; \
	else echo '$(ADVISORIES) cannot be reached: known vulnerabilities were not looked up'; fi

audit-packages: $(STAMP)
	@pip-audit --requirement constraints.txt --no-deps --disable-pip --vulnerability-service osv

hooks: $(STAMP)
	@pre-commit install

clean:
	rm -rf data models reports work .dvc/cache .dvc/tmp dvc.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The Python versions that the packages in constraints.txt are built for.
$(STAMP): pyproject.toml constraints.txt
	@python=$$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true); \
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then \
	    echo 'Python 3.11, 3.12 or 3.13 is needed: install it (for example apt install python3.11 python3.11-venv)' >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv .venv || { echo 'the venv module is missing: apt install python3-venv' >&2; exit 1; }
	@echo 'installing into .venv: the first time it takes some minutes and about 7 GB'
	@python -m pip install --progress-bar on --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
