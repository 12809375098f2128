# One environment in .venv, made from the pinned, hashed requirements when they change. DIR is a project's folder.
SHELL := /bin/bash
DIR ?= .
CORES ?= 4
# The first that runs and is new enough.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := $(CURDIR)/.venv/bin
READY := .venv/.made
ifneq ($(DIR),.)
PROJECT := --directory "$(DIR)" --configfile "$(DIR)/config.yaml"
endif
# The summary of a run ends with what to type next.
SNAKEMAKE := SIGNOFF_NEXT="make report$(if $(PROJECT), DIR='$(DIR)')" $(BIN)/snakemake --snakefile $(CURDIR)/Snakefile $(PROJECT) --cores $(CORES)

.PHONY: help run report test lint bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: $(READY) ## ingest, validate, clean, train, evaluate; say the verdict (DIR=folder: another project)
	@$(SNAKEMAKE)

report: $(READY) ## write reports/final_report.md for the person who reviews
	@$(SNAKEMAKE) reports/final_report.md

test: $(READY) ## run all tests
	@$(BIN)/python -m pytest -n 2

lint: $(READY) ## check style and format of the code and of the workflow
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

bench: $(READY) ## measure the run beside a plain script, and print the table
	@$(BIN)/python benchmarks/bench.py

clean: ## delete what runs have made here
	rm -rf data model reports logs .snakemake

$(READY): requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making .venv from requirements.txt (once; about a minute)"
	@test -x .venv/bin/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $(READY)
