# Every target runs in .venv, which `make install` builds from the pinned constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: install demo test quality docs reproduce-arithmetic clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python examples/from_scratch/arithmetic.py --output_dir runs/demo

# Up to two hours on two cores. An interrupted run goes on where it stopped.
reproduce-arithmetic: install
	$(BIN)/python examples/from_scratch/arithmetic_reproduction.py $(if $(SETTING),--setting $(SETTING)) --seed $(or $(SEED),0)
	$(BIN)/python examples/from_scratch/arithmetic_report.py

# A file of tests at a time in each of two processes, with a thread each
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow"

quality: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

# Into site/, which can be opened from the disk
docs: install
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf .venv build dist runs site .cache
