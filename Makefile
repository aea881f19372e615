# `make book` and `make test` set up everything in .venv; nothing else on the machine changes.
#
#   make book CONFIG=configs/folder.yaml DATA=/path/to/photographs     the same run on your own images
#   make book CONFIG=configs/paper.yaml DATA=/path/to/datasets GPUS=1   train on a GPU, one seed at a time
#   make book CONFIG=configs/paper.yaml DATA=/path/to/datasets LIMIT=2  a rehearsal: few images, numbers mean nothing

# Only arguments of make change these: in the caller's environment the names may mean something else.
PYTHON := python3
CONFIG := configs/mini.yaml
DATA :=
LIMIT :=
GPUS := 0
MAPS :=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH := $(VENV)/bench
# For programs started by a step; the recipes use full paths, because old versions of make search the caller's path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A run must not depend on the user's other packages and settings. pip may know where packages come from: they are pinned by hash.
export PYTHONNOUSERSITE := 1
PIP_SOURCES := $(addprefix PIP_,CACHE_DIR CERT CLIENT_CERT CONFIG_FILE DEFAULT_TIMEOUT EXTRA_INDEX_URL FIND_LINKS INDEX_URL PROXY TRUSTED_HOST)
unexport PYTHONPATH PYTHONHOME SNAKEMAKE_PROFILE $(filter-out $(PIP_SOURCES),$(filter PIP_%,$(.VARIABLES)))
# Its temporary files are in .venv too; it keeps no cache unless PIP_CACHE_DIR names one.
PIP := TMPDIR="$(CURDIR)/$(VENV)/tmp" $(BIN)/python -m pip --disable-pip-version-check $(if $(PIP_CACHE_DIR),,--no-cache-dir) install --quiet
# ONNX Runtime sends usage data unless this is set before its import.
export ORT_DISABLE_TELEMETRY := 1
# Environment variables take folder names that a command line of Snakemake cannot.
export EDGEZSAD_DATA := $(DATA)
export EDGEZSAD_LIMIT := $(LIMIT)
GRAPH := $(BIN)/python -m edgezsad.execute --graph
# An environment is installed again if its scripts name another folder or its Python does not start; a link is the user's own.
BROKEN := $(if $(wildcard $(INSTALLED)),$(shell test -L $(VENV) || { grep -qsF "$(CURDIR)/$(BIN)/python" $(BIN)/edgezsad && $(BIN)/python -I -c "import pip"; } 2>/dev/null || echo broken))

.PHONY: broken book test rehearsal bench bench-metrics bench-loading bench-duplicates bench-latency bench-step bench-ablations bench-photographs lint format lock clean

book: $(INSTALLED)
	@$(GRAPH) "$(CONFIG)" "gpus=$(GPUS)"

test: $(INSTALLED)
	$(BIN)/pytest

# The paper profile's whole graph, book included, on small generated sets in the real layouts: the numbers mean nothing.
rehearsal: $(INSTALLED)
	$(BIN)/python -m synthetic configs/paper.yaml runs/rehearsal-data
	EDGEZSAD_DATA=runs/rehearsal-data EDGEZSAD_LIMIT=1 $(GRAPH) configs/paper.yaml

# Every benchmark, each also alone; they write benchmarks/results/*.json, which the book's page "Speed" shows.
# MAPS: score files of a run on photographs (runs/photographs/scores/pytorch/seed*/*.npz), DATA: the photographs' folder.
bench: bench-metrics bench-loading bench-duplicates bench-latency bench-step bench-ablations

# The pixel metrics beside other libraries, a quarter of an hour.
bench-metrics: $(BENCH)/.installed
	PYTHONPATH="$(CURDIR)/$(BENCH)" $(BIN)/python benchmarks/metrics.py $(if $(MAPS),--maps $(MAPS)) $(if $(DATA),--data "$(DATA)")

# Images from files into batches, a minute.
bench-loading: $(INSTALLED)
	$(BIN)/python benchmarks/loading.py

# The search for near-duplicates, two minutes.
bench-duplicates: $(INSTALLED)
	$(BIN)/python benchmarks/duplicates.py

# One image through both models and through the image tower of ViT-L methods, every runtime; ten minutes, 10 GB of memory.
bench-latency: $(INSTALLED)
	$(BIN)/python benchmarks/latency.py

# The training step on this machine's GPU; without one only a small model that shows that the script runs.
bench-step: $(INSTALLED)
	$(BIN)/python benchmarks/training_step.py

# What each part of the recipe is worth, on held-out families of the mini profile's source; after `make book`.
bench-ablations: $(INSTALLED)
	$(BIN)/python benchmarks/ablations.py

# The shipped detector's recipe on photographs that it was not trained on, and its variants; after notebooks 01 and 02 of
# configs/checkpoint.yaml. An hour.
bench-photographs: $(INSTALLED)
	$(BIN)/python benchmarks/photographs.py --data "$(DATA)"

$(BENCH)/.installed: $(INSTALLED) benchmarks/requirements.txt
	mkdir -p $(VENV)/tmp
	$(PIP) --no-deps --require-hashes --upgrade --target $(BENCH) -r benchmarks/requirements.txt
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is written last: an interrupted installation starts again.
$(INSTALLED): requirements.lock pyproject.toml setup.py $(BROKEN)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(if $(BROKEN),--clear) $(VENV)
	mkdir -p $(VENV)/tmp
	@echo "installing the pinned packages into $(VENV) (about 7 GB, some minutes) ..."
	$(PIP) --progress-bar off --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	rm -rf $(VENV)/tmp
	touch $@

broken:
	@echo "$(VENV): was moved, or its Python does not start; installed again"

# Needs uv; only after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile pyproject.toml --extra train --extra book --extra qnn --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --output-file requirements.lock

clean:
	rm -rf runs book/_build .snakemake
