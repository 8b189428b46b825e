# Everything a fresh machine needs: `make demo` and `make test` set up .venv themselves.
PYTHON ?= python3
VENV := .venv
RUN := HF_HUB_OFFLINE=1 $(VENV)/bin/python
READY := $(VENV)/.ready
WORKERS ?= 2
EXTRAS := dev,docs,embeddings,export,launchers,peers,s3,search
LOWEST := .venv-lowest

.PHONY: help setup demo test test-lowest trust check docs bench notebooks reference wheel

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: $(READY)  ## make .venv with the package and its development tools

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: $(READY)  ## train a teacher, distil it in five ways, write demo/table.md and demo/plot.png
	$(RUN) -m kdfeatures demo output_dir=demo existing=overwrite

test: $(READY)  ## run all tests in WORKERS=2 processes; FAST=1 leaves out the slow ones
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist worksteal $(if $(FAST),-m "not slow")

test-lowest:  ## run the fast tests with the lowest versions that setup.cfg admits, PYTHON too; KEEP=torch leaves that one high
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest_versions.py $(KEEP) > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/constraints.txt --editable ".[$(EXTRAS)]"
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

trust: $(READY)  ## attack options, files, checkpoints and folders, all cases: docs/reliability.md
	OMP_NUM_THREADS=1 TRUST=1 $(RUN) -m pytest -n $(WORKERS) --dist worksteal tests/trust

check: $(READY)  ## lint, types, and the layers of the packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest -n 0 tests/test_layers.py

docs: $(READY)  ## build the site of the pages in outputs/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet

bench: $(READY)  ## run the benchmarks; TEACHER=folder GLUE=folder adds an epoch of SST-2, MRPC_TEACHER=folder whole jobs
	$(VENV)/bin/python -m pip install --quiet --no-deps silverspoon-kd==0.1.0 bertdistiller==0.1.2 peft
	$(RUN) -m benchmarks.capture
	$(RUN) -m benchmarks.relations
	$(RUN) -m benchmarks.vocabulary
	$(RUN) -m benchmarks.maps
	$(RUN) -m benchmarks.cached
	$(RUN) -m benchmarks.sweep
	$(RUN) -m benchmarks.step
	$(RUN) -m benchmarks.threads
	$(RUN) -m benchmarks.growth
	$(RUN) -m benchmarks.gpu
	$(if $(TEACHER),$(RUN) -m benchmarks.epoch $(TEACHER) $(GLUE))
	$(if $(MRPC_TEACHER),$(RUN) -m benchmarks.whole_jobs $(MRPC_TEACHER) $(GLUE))
	$(if $(MRPC_TEACHER),$(RUN) -m benchmarks.outside $(MRPC_TEACHER) $(GLUE))
	$(RUN) -m benchmarks.report

notebooks: $(READY)  ## execute the notebooks and check what they print; their outputs go to outputs/notebooks
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[notebooks]"
	mkdir -p outputs/notebooks
	for file in notebooks/*.ipynb; do $(RUN) -m jupyter execute $$file --output=../outputs/notebooks/$$(basename $$file) || exit 1; done
	$(RUN) -m pytest -n 0 tests/test_notebooks.py

reference: $(READY)  ## write docs/reference.md from the docstrings, docs/options.md and docs/choices.md from conf/
	$(RUN) docs/build_reference.py
	$(RUN) docs/build_options.py

wheel: $(READY)  ## build dist/*.whl
	$(VENV)/bin/python -m build --wheel --no-isolation
