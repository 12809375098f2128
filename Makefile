# One environment in .venv, made from the pinned, hashed requirements when they change. DIR is a project's folder.
SHELL := /bin/bash
CORES ?= 4
export CORES
# The first that runs and is new enough.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
READY := .venv/.made
# Beside it what tests and checks need.
DEV := .venv/.dev
DOCS := .venv/.docs
# Install a file of pins into an environment: with uv, in a ninth of the time, or else with pip. Modules are compiled when
# they are first imported; most never are. uv reads no settings of pip, but for an index and the system's certificates.
export UV_SYSTEM_CERTS = 1
export UV_NO_CONFIG = 1
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX = $(PIP_INDEX_URL)
endif
INSTALL = { test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $1/bin/python --require-hashes -r $2; } || \
	$1/bin/python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check --require-hashes -r $2
PINNED = $(shell sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements.txt requirements-dev.txt requirements-boosters.txt | sort -uf)
# Fit for use beside a workflow under the MIT licence; the LGPL's are imported, not changed.
LICENCES := MIT;BSD;Apache;Python Software Foundation;PSF;Mozilla;MPL;ISC;0BSD;LGPL
# Only a file in the package names their licence.
NO_LICENCE_TOLD := conda-inject skops snakemake-interface-common snakemake-interface-logger-plugins \
	snakemake-interface-report-plugins snakemake-interface-scheduler-plugins snakemake-interface-storage-plugins \
	snakemake-logger-plugin-rich
# Some shells export HOST, the name of the machine: it counts only if it is given to make.
HOST_FROM := $(origin HOST)
# What a person gives as VARIABLE=… reaches scripts as it is, in the environment: neither make nor a shell reads it.
GIVEN := DIR CORES PRESET SOURCE TARGET QUERY REVIEWER DECISION COMMENT OVERRIDE KEY SIGNATURE MODELS RELEASE REASON BATCH KIND VERSION HOST PORT WORKERS PROGRAMS
$(foreach each,$(GIVEN),$(if $(value $(each)),$(eval override export $(each) := $$(value $(each)))))

ifneq ($(if $(DIR),$(DIR),.),.)
PROJECT := --directory="$$DIR" --configfile="$$DIR/config.yaml"
endif
# Packages of another Python would be imported in place of those that are pinned.
unexport PYTHONPATH PYTHONHOME
# Whatever the locale is.
export PYTHONUTF8 := 1
# In quotes, the shell leaves a ~ to us.
TILDE = case "$$DIR" in "~"|"~/"*) export DIR="$$HOME$${DIR\#\~}";; esac;
# In a container the account may have no name, and its home may be missing or read-only: caches then go into the
# project's folder. scripts/signoff/base/surroundings.py does the same.
define AT_HOME
if [ -z "$$LOGNAME$$USER" ]; then export USER="$$(id -un 2> /dev/null || echo "uid $$(id -u)")"; fi; \
	if [ -z "$$HOME" ]; then unset HOME; export HOME=~; fi; $(TILDE) caches="$${XDG_CACHE_HOME:-$$HOME/.cache}/snakemake"; \
	if ! { mkdir -p "$$caches" && test -w "$$caches"; } 2> /dev/null; then \
	caches="$$(CDPATH= cd -- "$${DIR:-.}" && pwd)/.snakemake/cache"; mkdir -p "$$caches"; \
	export XDG_CACHE_HOME="$$caches" MPLCONFIGDIR="$$caches/matplotlib"; fi;
endef
# The workflow's own profile alone: one that SNAKEMAKE_PROFILE names could run a part, touch files, or ignore new data.
PINNED_PROFILE := --profile none --workflow-profile profiles/default
# The summary of a run ends with what to type next.
NEXT := SIGNOFF_NEXT="make report$(if $(PROJECT), DIR=$${DIR@Q})"
SNAKEMAKE := $(AT_HOME) $(NEXT) \
	$(BIN)/python scripts/run_snakemake.py --snakefile Snakefile $(PINNED_PROFILE) $(PROJECT) --cores="$$CORES"

# The scripts that a person runs work in the project's folder.
IN_PROJECT := $(AT_HOME) CDPATH= cd -- "$${DIR:-.}" && "$$OLDPWD"/.venv/bin/python "$$OLDPWD"/scripts

.PHONY: help init run report summary review statement sign-off deploy rollback verify predict weekly status schedule unit test lint bench clean \
	coverage mutants compat audit licences sbom notes faults docs tracking mlflow history index notify bench-tables backtest \
	boosters bench-backtest bench-scaling bench-alarms bench-leaks bench-live bench-models year attest signing dossier reproduce serve bench-serve
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

init: $(READY) ## create a project for a table (SOURCE=path or URL, TARGET=column; QUERY=SQL, DIR=folder, PRESET=fast or best)
	@$(TILDE) $(BIN)/python scripts/init_project.py --source="$$SOURCE" --target="$$TARGET" $${QUERY+--query="$$QUERY"} \
		$${DIR+--output="$$DIR"} $${PRESET+--preset="$$PRESET"} $${FORCE+--force}

run: $(READY) ## ingest, validate, clean, train, evaluate and print the verdict (DIR=folder: another project)
	@$(SNAKEMAKE)

report: $(READY) ## write the report for the reviewer: reports/final_report.md and .html
	@$(SNAKEMAKE) reports/final_report.md
	@echo "To read in a browser: $(if $(PROJECT),$$DIR/)reports/final_report.html"

summary: $(READY) ## show the summary of the report on the terminal: deploy or not, the reasons, the scores
	@$(IN_PROJECT)/summary.py

backtest: $(READY) ## replay the weekly job over the weeks of the data, to see what retraining gains: reports/backtest.md
	@$(SNAKEMAKE) backtest

statement: $(READY) ## write a decision to a file that is signed elsewhere (REVIEWER= DECISION= COMMENT= OVERRIDE=; MODELS=rule)
	@$(IN_PROJECT)/$(if $(MODELS),sign_off_models.py --statement --rule="$$MODELS",statement.py) \
		--reviewer="$$REVIEWER" --decision="$$DECISION" --comment="$$COMMENT" \
		$${OVERRIDE+--override="$$OVERRIDE"}

review: $(READY) ## open a page in a browser to read, compare and decide on; Ctrl-C ends it (NO_BROWSER=1, PORT=)
	@$(IN_PROJECT)/review.py $${NO_BROWSER+--no-browser} $${PORT+--port="$$PORT"}

sign-off: $(READY) ## approve or reject (REVIEWER= DECISION= COMMENT= OVERRIDE= KEY=, otherwise prompted for; or SIGNATURE= or COMMIT=; MODELS=rule)
	@$(IN_PROJECT)/$(if $(MODELS),sign_off_models.py --rule="$$MODELS",sign_off.py) $${REVIEWER+--reviewer="$$REVIEWER"} $${DECISION+--decision="$$DECISION"} \
		$${COMMENT+--comment="$$COMMENT"} $${OVERRIDE+--override="$$OVERRIDE"} $${KEY+--key="$$KEY"} \
		$${SIGNATURE+--signature="$$SIGNATURE"} $${COMMIT+--commit="$$COMMIT"}

deploy: $(READY) ## release the model that was signed off; of many models, all that were
	@$(IN_PROJECT)/deploy.py

rollback: $(READY) ## return to the previous release (RELEASE=another one; REASON=, otherwise prompted for)
	@$(IN_PROJECT)/rollback.py $${RELEASE+--release="$$RELEASE"} $${REASON+--reason="$$REASON"}

verify: $(READY) ## check the history, the files of every release, and the approval of the current one
	@$(IN_PROJECT)/verify.py

attest: $(READY) ## write a release's model card, CycloneDX BOM, in-toto Statement and MLflow model: attestations/ (RELEASE= KEY=)
	@$(IN_PROJECT)/attest.py $${RELEASE+--release="$$RELEASE"} $${KEY:+--key="$$KEY"}

signing: $(READY) .venv/signing/.made ## install OpenSSF's model_signing, needed for make attest KEY=

dossier: $(READY) ## write one zip about a release for an auditor: dossiers/ (RELEASE=another one)
	@$(IN_PROJECT)/dossier.py $${RELEASE+--release="$$RELEASE"}

reproduce: $(READY) ## train a release again from the data that it keeps, and compare the bytes (RELEASE=name)
	@$(IN_PROJECT)/reproduce.py $${RELEASE+--release="$$RELEASE"} --threads="$$CORES"

predict: $(READY) ## score data/batches/BATCH.csv (or .csv.gz, …) with the current release (BATCH=name)
	@name="$${BATCH#data/batches/}"; name="$${name%.csv}"; $(SNAKEMAKE) "predictions/$${name%.csv.*}.csv"

serve: .venv/.serving ## answer POST /predict with the current release over HTTP (PORT=8000, HOST=127.0.0.1, WORKERS=one a core)
	@$(IN_PROJECT)/serve.py $(if $(findstring command,$(HOST_FROM)),--host="$$HOST") $${PORT+--port="$$PORT"} $${WORKERS+--workers="$$WORKERS"}

weekly: $(READY) ## run the weekly job, as a scheduler does: one run at a time, logged in logs/runs.jsonl
	@export $(NEXT); $(IN_PROJECT)/weekly.py

status: $(READY) ## show the last runs, the data, the release and the next step
	@$(IN_PROJECT)/status.py

index: history ## write the page of the project, what is deployed and what waits for whom: reports/index.html

history: $(READY) ## plot all scheduled runs and releases over time: reports/history.html
	@$(IN_PROJECT)/history.py

notify: $(READY) ## send a test message to everybody listed under notify in the config
	@$(IN_PROJECT)/notify.py

schedule: $(READY) ## print what to copy into a scheduler (KIND=name of a file in schedule/)
	@$(IN_PROJECT)/schedule.py --kind="$$KIND"

boosters: .venv/.boosters ## install LightGBM and CatBoost, which then take part in model.preset: good and best

tracking: .venv/.tracking ## install the MLflow client, needed for tracking.mlflow_uri in the config

mlflow: tracking .venv/mlflow-server/.made ## also install the MLflow server that tests/release/test_track.py starts

unit: $(DEV) ## run the tests of functions and scripts that need no run of the workflow
	@$(BIN)/python -m pytest -n 2 -m "not workflow"

test: $(DEV) ## run all tests
	@# More than there are cores: many tests wait for a server, a lock or a retry.
	@$(BIN)/python -m pytest -n 4 --dist loadgroup

year: $(DEV) ## run the test of a year: 52 Mondays with many kinds of failures (about ten minutes)
	@SIGNOFF_WEEKS=52 $(BIN)/python -m pytest tests/ops/test_year.py

coverage: $(DEV) ## run all tests and list the lines and branches of scripts/ that none of them runs (half an hour)
	@rm -rf .coverage && mkdir .coverage
	@export COVERAGE_FILE="$$PWD/.coverage/data" && \
		{ $(BIN)/python -m coverage run -m pytest -n 4 --dist loadgroup; result=$$?; } && \
		$(BIN)/python -m coverage combine --quiet && \
		$(BIN)/python -m coverage report --fail-under 95 && exit $$result

faults: $(DEV) ## run the long form of tests/faults, and COUNT kills with SEED (500, 1): benchmarks/faults.md
	@mkdir -p benchmarks/results; report=benchmarks/results/faults.xml; table=benchmarks/faults.md; \
		SIGNOFF_FAULTS=long $(BIN)/python -m pytest tests/faults --junit-xml=$$report; held=$$?; \
		$(BIN)/python tests/faults/kills.py --seed $(or $(SEED),1) --count $(or $(COUNT),500) --output $$table; \
		killed=$$?; $(BIN)/python tests/faults/tried.py $$report --output $$table && exit $$((held | killed))

mutants: $(DEV) .venv/mutants/.made ## run mutation tests on the code that decides about releases, and list the surviving mutants
	@PYTHON="$$PWD/.venv/mutants/bin/python" tests/mutants.sh

compat: $(DEV) .venv/audit/.made ## run part of the tests with the oldest and the newest versions that requirements.in allows
	@tests/compat.sh

audit: .venv/audit/.made ## check all pinned packages for known vulnerabilities (queries PyPI)
	@for each in requirements requirements-dev requirements-docs requirements-mlflow requirements-serve requirements-boosters requirements-signing requirements-audit requirements-uv; do \
		.venv/audit/bin/pip-audit --disable-pip --require-hashes --requirement $$each.txt || exit 1; done

licences: $(DEV) .venv/.boosters .venv/audit/.made ## write LICENCES.md; fail if a licence is not in the list of permitted ones
	@.venv/audit/bin/pip-licenses --python $(BIN)/python --packages $(PINNED) --no-version --with-urls --format markdown \
		--allow-only "$(LICENCES)" --partial-match --with-system --ignore-packages $(NO_LICENCE_TOLD) > LICENCES.md
	@for each in $(NO_LICENCE_TOLD); do \
		grep -rqs "MIT License" .venv/lib/python*/site-packages/$${each//-/_}-*.dist-info --include "LICENSE*" || exit 1; \
		echo "| $$each | MIT License, by the file LICENSE in its package | |" >> LICENCES.md; done

sbom: $(READY) .venv/audit/.made ## write sbom.json, a CycloneDX list of everything that is installed
	@.venv/audit/bin/cyclonedx-py environment --output-reproducible --validate --output-file sbom.json $(BIN)/python

notes: ## print the section of CHANGELOG.md for VERSION
	@awk -v version="$$VERSION" '/^## /{on = $$2 == version; found += on} on; END {exit !found}' CHANGELOG.md

lint: $(DEV) ## check style, format, types and imports of the code and of the workflow
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint
	@# Rooms import downwards only.
	@PYTHONPATH=scripts $(BIN)/lint-imports --no-cache
	@$(BIN)/mypy

bench: $(READY) ## compare the run with a plain script, a minimal one, make, DVC and Kedro (ROWS=flights, RUNS=3)
	@$(BIN)/python benchmarks/bench.py $(if $(ROWS),--rows $(ROWS)) $(if $(RUNS),--runs $(RUNS))

bench-scaling: $(READY) ## measure how time and memory of each task grow (ROWS="300000 3000000"), and planning many jobs
	@$(BIN)/python benchmarks/scaling.py $(if $(ROWS),--rows $(ROWS)) $(if $(RUNS),--runs $(RUNS))

bench-alarms: $(READY) ## measure how many known faults in data are reported, and how many false alarms: benchmarks/alarms.md
	@$(BIN)/python benchmarks/alarms.py --output benchmarks/alarms.md; status=$$?; \
		$(BIN)/python benchmarks/alarms_newest.py --output benchmarks/alarms_newest.md && exit $$status

bench-leaks: $(READY) ## measure how many leaks of each kind are reported, and how many false alarms: benchmarks/leaks.md
	@$(BIN)/python benchmarks/leaks.py --output benchmarks/leaks.md

bench-live: $(READY) ## measure in which week live alarms come, and what joins and checks cost: benchmarks/live.md (DIR=folder with a release)
	@$(BIN)/python benchmarks/live_alarms.py --output benchmarks/live.md
	@$(TILDE) $(BIN)/python benchmarks/live_costs.py $${DIR+--folder="$$DIR"}

docs: $(DOCS) ## build the documentation: docs/_build/html/index.html
	@mkdir -p docs/_build/flights && rm -rf docs/_build/flights/config && cp -r config docs/_build/flights/config
	@xz -dc resources/flights.csv.xz | awk -F, 'NR == 1 || $$1 < "2013-12-24"' > docs/_build/flights/flights.csv
	@$(BIN)/snakemake --directory docs/_build/flights --configfile config/config.yaml \
		--config raw_data_source_url=flights.csv --cores="$$CORES" --quiet all -- \
		reports/final_report.md reports/validation_report.json
	@rm -rf docs/flights && cp -r docs/_build/flights/reports docs/flights
	@$(BIN)/python docs/generate.py --output docs/reference
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

bench-tables: $(READY) ## compare projects for many tables with pipelines written by hand, and presets: benchmarks/tables.md, presets.md (NAMES=some)
	@$(BIN)/python benchmarks/tables.py $(or $(NAMES),--output benchmarks/tables.md)
	@$(BIN)/python benchmarks/presets.py $(or $(NAMES),--output benchmarks/presets.md)

bench-models: $(READY) ## compare many models, and many small weeks, with a plain loop (MODELS="100 1000"; default: 100; PROGRAMS=their bin)
	@$(BIN)/python benchmarks/many_models.py $(if $(MODELS),--models $(MODELS)) $${PROGRAMS:+--programs="$$PROGRAMS"}

bench-backtest: $(READY) ## measure the backtest on one core and on two
	@$(BIN)/python benchmarks/bench_backtest.py

bench-serve: .venv/.serving ## compare make serve with MLflow and MLServer (DIR=folder with a release, PROGRAMS=their bin)
	@$(TILDE) $(BIN)/python benchmarks/bench_serve.py --folder="$${DIR:-.}" $${PROGRAMS:+--programs="$$PROGRAMS"}

environment.yml: requirements.txt ## write the conda environment as one complete file, because Snakemake copies only this file
	@{ printf '%s\n' 'channels:' '  - conda-forge' '  - nodefaults' 'dependencies:' '  - python >=3.11' '  - pip' \
		'  # The lines of requirements.txt: make environment.yml.' '  - pip:' && \
		sed -e ':a' -e '/\\$$/{N; s/ *\\\n */ /; ta' -e '}' -e 's/^/      - /' requirements.txt; } > $@

clean: ## delete the outputs of runs in this folder
	rm -rf data/raw data/processed data/features data/weeks model reports logs .snakemake

.venv/.uv: requirements-uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x .venv/bin/python || { echo "Making .venv from requirements.txt (once; less than a minute)" && "$(PYTHON)" -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r $< || \
		echo "uv cannot be installed here: pip will install the packages, which takes longer"
	@touch $@

$(READY): requirements.txt | .venv/.uv
	@$(call INSTALL,.venv,$<)
	@touch $@

$(DEV): requirements-dev.txt $(READY)
	@echo "Adding to .venv what tests and checks need, from requirements-dev.txt (once)"
	@$(call INSTALL,.venv,$<)
	@touch $@

$(DOCS): requirements-docs.txt
.venv/.tracking: requirements-mlflow.txt
.venv/.boosters: requirements-boosters.txt
.venv/.serving: requirements-serve.txt
$(DOCS) .venv/.tracking .venv/.boosters .venv/.serving: $(READY)
	@$(call INSTALL,.venv,$(filter %.txt,$^))
	@touch $@

.venv/signing/.made: requirements-signing.txt
.venv/audit/.made: requirements-audit.txt
.venv/mlflow-server/.made: tests/mlflow-server.txt
.venv/signing/.made .venv/audit/.made .venv/mlflow-server/.made: | .venv/.uv
	@"$(PYTHON)" -m venv $(@D)
	@$(call INSTALL,$(@D),$^)
	@touch $@

# Beside what is installed already, which the tests need.
.venv/mutants/.made: requirements-mutants.txt $(DEV)
	@"$(PYTHON)" -m venv .venv/mutants
	@$(call INSTALL,.venv/mutants,$<)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv/mutants/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	@touch $@
