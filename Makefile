# `make demo` and `make test` need nothing but Python 3.11+: each makes .venv when it is missing or
# when pyproject.toml changed, and a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo demo-fast collect-demo test test-slow test-gpu fuzz bench docs pictures notebooks lint format clean

demo: $(READY)
	$(BIN)/luab-train demo --out demo

demo-fast: $(READY)
	$(BIN)/luab-train demo --fast --out demo-fast

# An annotation study in the browser, until Ctrl-C.
collect-demo: $(READY)
	$(BIN)/luab-data collect demo

test: lint
	$(BIN)/python -m pytest -n 2

test-slow: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,ray]"
	$(BIN)/python -m pytest -m slow

# On a machine with a CUDA device; a few minutes.
test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

fuzz: $(READY)
	$(BIN)/python tests/fuzz_parsers.py --seconds 60

bench: $(READY)
	$(BIN)/python benchmarks/convert.py --records 60000 --coco-records 10000 --pairs 3

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

pictures: $(READY)
	$(BIN)/python docs/render.py

notebooks: $(READY)
	$(BIN)/python notebooks/write.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch and torchvision in one pip call, so that pip picks a pair that fits together.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(READY)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo demo-fast collect-demo
