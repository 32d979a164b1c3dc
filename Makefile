# `make env` sets up .venv; every other target uses it. VENV= and PYTHON= choose others.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
# of `make mutants`: another seed draws other mutants, COUNT of each group
SEED ?= 1
COUNT ?= 300
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: env ops demo test matrix mutants lint format docs wheel clean

env: $(READY)

# TensorFlow first, then kdet without build isolation, so that setup.py compiles the ops for this TensorFlow.
$(READY): pyproject.toml setup.py
	@echo "1/3 A virtual environment in $(VENV), with TensorFlow (600 MB): a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77"
	@$(BIN)/python -m pip install --quiet "tensorflow>=2.20,<2.22"
	@echo "2/3 kdet and what its tests need; its ops are compiled if there is a C++ compiler: one to four minutes"
	@$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	@echo "3/3 What is here now:"
	@$(BIN)/kdet doctor
	@touch $(READY)

# After an update of custom_ops/ or of TensorFlow.
ops: $(READY)
	$(BIN)/python -m kdet.ops build

demo: $(READY)
	$(BIN)/python tools/demo.py

# In three parts, for TensorFlow keeps the graphs of custom gradients until a process ends: gigabytes.
PART1 := tests/verification tests/export tests/zoo
PART2 := tests/detectors tests/train tests/data
test: $(READY)
	@failed=0; \
	$(BIN)/python -m pytest -n $(JOBS) $(PART1) || failed=1; \
	$(BIN)/python -m pytest -n $(JOBS) $(PART2) || failed=1; \
	$(BIN)/python -m pytest -n $(JOBS) $(addprefix --ignore=,$(PART1) $(PART2)) || failed=1; \
	exit $$failed

# The suite with the oldest, the newest and other allowed versions, each in an environment of its own.
matrix: $(READY)
	$(BIN)/python -m verification.matrix $(ENVIRONMENTS)

# Do the tests notice a wrong line? Hours; a run that was ended goes on.
mutants: $(READY)
	$(BIN)/python -m verification.mutants --seed $(SEED) --count $(COUNT) --jobs $(JOBS)
	$(BIN)/python -m verification.mutants --kernels --seed $(SEED) --count 40

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(READY)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# The site, in build/site. An environment of its own: the reference is read from the source text, without TensorFlow.
DOCS := build/docs-env
docs: $(DOCS)/.ready
	$(DOCS)/bin/python docs/site/stage.py build/site-source
	$(DOCS)/bin/python -m sphinx --quiet --fail-on-warning --keep-going -c docs/site build/site-source build/site
	@echo "open build/site/index.html"

$(DOCS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --group docs
	touch $(DOCS)/.ready

wheel: $(READY)
	rm -rf build
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
