# `make` lists what there is. Windows has no make: the README gives the same commands for it.
VENV = .venv
PYTHONS = 3.13 3.12 3.11 python3
REQUIREMENTS = requirements.txt
FIRST = notebooks/01-one-question-three-vendors.ipynb
NBVAL = --nbval --nbval-current-env --nbval-cell-timeout=300 --nbval-kernel-startup-timeout=60 -W ignore
PYTEST = $(VENV)/bin/pytest -n 2 --dist loadfile

.NOTPARALLEL:
.PHONY: help lab test test-all test-colab notebooks links colab wheel bench clean lint unit nbval browser colab-install

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | while IFS=@ read -r name what; do \
	    printf '  make %-12s %s\n' "$$name" "$$what"; done

lab: $(VENV)/ready ## open JupyterLab with the first notebook (options in LAB="--no-browser --port 8888")
	$(VENV)/bin/jupyter lab --LabApp.default_url=/lab/tree/$(FIRST) $$(test "$$(id -u)" != 0 || echo --allow-root) $(LAB)

test: lint unit nbval browser ## ruff, mypy, unit tests, every notebook's outputs compared and by Run All, a browser

test-all: $(VENV)/ready ## the same on the other Pythons among 3.13, 3.12 and 3.11 that are here
	@for version in 3.13 3.12 3.11; do \
	    if $(VENV)/bin/python -V | grep -qF " $$version."; then echo "Python $$version: that is what make test uses"; \
	    elif ! tools/find-python $$version >/dev/null 2>&1; then echo "Python $$version: not here, left out"; \
	    else $(MAKE) VENV=.venv-$$version PYTHONS=$$version unit nbval || exit 1; fi; done

test-colab: colab ## the same on Google Colab's versions, with what `make colab` builds installed and run as there
	$(MAKE) VENV=.venv-colab REQUIREMENTS=tests/colab-constraints.txt colab-install unit nbval

notebooks: $(VENV)/ready ## execute all notebooks offline, in place, and bring them into normal form
	$(VENV)/bin/python tools/notebooks.py notebooks/*.ipynb

links: $(VENV)/ready ## write the project's address (from pyproject.toml) into Colab badges and setup cells
	$(VENV)/bin/python tools/colab.py address

wheel: $(VENV)/ready ## build dist/moa_helpers-*.whl
	rm -rf build dist
	$(VENV)/bin/python -m pip wheel -q --no-deps -w dist .

colab: wheel ## build dist/colab/*.ipynb: notebooks that hold the package, each to upload alone to Google Colab
	$(VENV)/bin/python tools/colab.py notebooks dist/*.whl

bench: bench-overhead bench-tail bench-survival bench-liars bench-panel bench-comparison ## benchmarks; about 35 minutes

bench-%: .venv-bench/ready
	.venv-bench/bin/python benchmarks/$*.py

.venv-bench/ready: REQUIREMENTS = benchmarks/requirements.txt
.venv-bench/ready: benchmarks/requirements.txt

clean: ## remove all that the other targets made
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: $(VENV)/ready
	$(PYTEST)

nbval: $(VENV)/ready
	MOA_MODE=offline MOA_OFFLINE_SPEED=4 $(PYTEST) $(NBVAL) notebooks

browser: $(VENV)/ready ## a reader's way through JupyterLab, in a real browser; without one it says what to install
	$(VENV)/bin/pytest -rs tests/browser

colab-install: $(VENV)/ready
	$(VENV)/bin/python tools/colab.py check dist/colab/*.ipynb

%/ready: $(REQUIREMENTS) pyproject.toml
	@rm -rf $(@D)
	@python=$$(tools/find-python $(PYTHONS)) && echo "Setting up $(@D) with $$python; this takes a minute or two." && \
	    "$$python" -m venv $(@D)
	@$(@D)/bin/python -m pip install -q -r $(REQUIREMENTS)
	@touch $@
