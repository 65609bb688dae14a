# make demo: from a fresh clone to reports/index.html. Everything is installed into .venv only.
PYTHON ?= python3
CORES ?= all
DEVICE ?= cuda
GRAPH ?= false
WRITE ?=
WORKERS ?= 3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

# Python keeps what it has compiled, even where the shell says not to: every process would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo gallery readme-results table1 test test-fast bench lint format
.DEFAULT_GOAL := help

help:
	@echo 'make demo       install, run study "quick", show where its page is (CORES=2 to use two cores)'
	@echo 'make gallery    install, build the pages of the published runs in archive/: tables and verdicts without training'
	@echo 'make readme-results   check the tables of README.md, docs/results.md and docs/translation.md against archive/ (WRITE=1: write them anew)'
	@echo 'make table1     train, evaluate and report all of study table1 on this machine'"'"'s GPU (DEVICE=cpu: on its cores; GRAPH=true: CUDA graphs)'
	@echo 'make setup      install the exact versions of requirements.txt and sintro itself into $(VENV)'
	@echo 'make test       run every test;  make test-fast leaves out the slow ones (WORKERS=3: processes that share them)'
	@echo 'make bench      time what takes long (see python -m benchmarks --help)'
	@echo 'make lint       check the code;  make format mends what can be mended'
	@echo 'PYTHON=...      the Python to install with, 3.11 to 3.13 (now: $(PYTHON))'

setup: $(STAMP)

# --no-compile: Python compiles what is imported when it is first imported, which halves the time to install.
# --no-deps, --no-build-isolation: the pins already hold everything, the build included.
$(STAMP): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13; use make PYTHON=/path/to/python3.12"; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --no-compile -r requirements.txt
	$(RUN) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(RUN) -m sintro.runs.demo quick "$(CORES)"

# Pages of the archived runs alone; results/ is not looked at.
gallery: setup
	@$(RUN) -m sintro report --archive

readme-results: setup
	@$(RUN) -m sintro.report.pages.documents $(if $(filter 1,$(WRITE)),--write)

# One fleet at a time has the GPU; the evaluations that follow share it.
table1: setup
	$(RUN) -m snakemake --cores $(CORES) --resources gpu=1 --config study=table1 device=$(DEVICE) graph=$(GRAPH)

# Each file's tests run in one process, the longest files first. One more process than cores: those on Slurm mostly wait.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST)

test-fast: setup
	$(PYTEST) -m 'not slow'

bench: setup
	$(RUN) -m benchmarks

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .
