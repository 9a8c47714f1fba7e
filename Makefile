# `make` lists what there is. Windows has no make: the README gives the same commands for it.
VENV = .venv
PYTHONS = 3.13 3.12 3.11 python3
REQUIREMENTS = -r requirements.txt
CONSTRAINTS = -c constraints.txt
FIRST = notebooks/01-one-question-three-vendors.ipynb
REAL = notebooks/real/real-models.ipynb
REAL_TESTS = -m "real and not slow" tests/real
JUPYTER = $(VENV)/bin/jupyter lab $$(test "$$(id -u)" != 0 || echo --allow-root) $(LAB) --LabApp.default_url=/lab/tree
# Kernels wait more than they compute, so there are more of them than processors; the longest notebooks come first.
NBVAL = -p started_again -n 4 --dist loadfile --no-loadscope-reorder -W ignore \
    --nbval --nbval-current-env --nbval-cell-timeout=300 --nbval-kernel-startup-timeout=60
# Some containers set it. Then each kernel would compile thousands of imported files anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab lab-local test test-latest test-all test-colab browser real clients ray notebooks real-notebook links \
    picture wheel colab bench constraints clean lint checks unit nbval slow colab-check

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | while IFS=@ read -r name what; do \
	    printf '  make %-13s %s\n' "$$name" "$$what"; done

lab: $(VENV)/ready ## open JupyterLab with the first notebook (options in LAB="--no-browser --port 8888")
	exec $(JUPYTER)/$(FIRST)

lab-local: $(VENV)/ready ## the same with a real model on this machine, fetched and served, and a notebook about it
	exec $(VENV)/bin/python tools/local.py $(JUPYTER)/$(REAL)

test: $(VENV)/tests ## unit tests, all notebooks' outputs, and beside them ruff, mypy and the direction of imports
	@nice $(MAKE) --no-print-directory lint >$(VENV)/lint.txt 2>&1 & lint=$$!; \
	    $(MAKE) --no-print-directory -k checks; checks=$$?; wait $$lint; lint=$$?; \
	    if [ $$lint = 0 ]; then echo "make lint: passed"; else cat $(VENV)/lint.txt; echo "make lint: FAILED"; fi; \
	    exit $$((checks + lint))

test-latest: ## the same with the newest versions of all packages instead of those in constraints.txt
	rm -rf .venv-latest
	$(MAKE) VENV=.venv-latest CONSTRAINTS= test

test-all: $(VENV)/tests ## the unit tests on the other Pythons among 3.13, 3.12 and 3.11 that are here; 3.11 with the oldest SDKs
	@grep -vE '^(anthropic|mistralai|openai)==' constraints.txt | cat - tests/older-constraints.txt >$(VENV)/older.txt
	@for version in 3.13 3.12 3.11; do \
	    if $(VENV)/bin/python -V | grep -qF " $$version."; then echo "Python $$version: that is what make test uses"; \
	    elif ! tools/find-python $$version >/dev/null 2>&1; then echo "Python $$version: not here, left out"; \
	    else constraints="$(CONSTRAINTS)"; [ $$version != 3.11 ] || constraints="-c $(VENV)/older.txt"; \
	        $(MAKE) VENV=.venv-$$version PYTHONS=$$version CONSTRAINTS="$$constraints" unit || exit 1; fi; done

test-colab: colab ## the notebooks on Google Colab's versions, with what `make colab` builds installed and run as there
	$(MAKE) VENV=.venv-colab REQUIREMENTS="-r tests/colab-constraints.txt" CONSTRAINTS= colab-check

browser: $(VENV)/tests ## a reader's way through JupyterLab, in a real browser; without one it says what to install
	$(VENV)/bin/pytest -rs -m browser tests/browser

real: $(VENV)/tests ## the wire, a mixture, a comparison and notebooks 1 to 4 against a real model on this machine
	$(VENV)/bin/python tools/local.py --or-skip $(VENV)/bin/pytest -rs --durations=8 $(REAL_TESTS)

clients: $(VENV)/ready .venv-clients/ready ## other people's clients (SDKs, LangChain, llm, npm's ai, …) against moa_helpers.serve
	PYTHONPATH=. $(VENV)/bin/python tests/real/clients/run.py .venv-clients

.venv-clients/ready: REQUIREMENTS = -r tests/real/clients/requirements.txt
.venv-clients/ready: CONSTRAINTS =
.venv-clients/ready: tests/real/clients/requirements.txt

ray: .venv-ray/ready ## many questions on a Ray cluster: two nodes on this machine, of which one dies
	RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/pytest -rs --durations=5 -m ray tests/ray

.venv-ray/ready: REQUIREMENTS = -e .[ray] -r tests/ray/requirements.txt
.venv-ray/ready: CONSTRAINTS =
.venv-ray/ready: tests/ray/requirements.txt

notebooks: $(VENV)/tests ## execute all notebooks offline, in place, and bring them into normal form
	$(VENV)/bin/python tools/notebooks.py notebooks/*.ipynb

real-notebook: $(VENV)/ready ## execute the notebook on real models anew, and store what a real model answered
	$(VENV)/bin/python tools/local.py $(VENV)/bin/python tools/notebooks.py $(REAL)

picture: $(VENV)/tests ## take the README's picture of the playground anew, in a real browser
	$(VENV)/bin/python tools/picture.py notebooks/images/playground.png

links: $(VENV)/ready ## write the project's address (from pyproject.toml) into Colab badges and setup cells
	$(VENV)/bin/python tools/colab.py address

wheel: $(VENV)/ready ## build dist/moa_helpers-*.whl
	rm -rf build dist
	$(VENV)/bin/python -m pip wheel -q --no-deps -w dist .

colab: wheel ## build dist/colab/*.ipynb: notebooks that hold the package, each to upload alone to Google Colab
	$(VENV)/bin/python tools/colab.py notebooks dist/*.whl

bench: bench-overhead bench-tail bench-survival bench-liars bench-panel bench-comparison bench-serve bench-bulk bench-batch ## benchmarks; about an hour

bench-ray: .venv-ray/ready
	RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/python benchmarks/on_ray.py

bench-%: .venv-bench/ready
	.venv-bench/bin/python benchmarks/$*.py

.venv-bench/ready: REQUIREMENTS = -r benchmarks/requirements.txt
.venv-bench/ready: CONSTRAINTS =
.venv-bench/ready: benchmarks/requirements.txt

constraints: $(VENV)/ready ## bring constraints.txt to the newest versions; then make test says whether they do
	@uv=$$(command -v uv || echo $(VENV)/bin/uv) && sed '/^[^#]/,$$d' constraints.txt >constraints.new && \
	    "$$uv" pip compile -q --upgrade --universal --python-version 3.11 --fork-strategy fewest --no-header \
	    --no-annotate --no-emit-package moa-helpers requirements.txt tests/requirements.txt \
	    --extra local pyproject.toml >>constraints.new
	mv constraints.new constraints.txt

clean: ## remove all that the other targets made
	rm -rf .venv .venv-* .models build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

lint: $(VENV)/tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

checks: unit nbval

unit: $(VENV)/tests
	$(VENV)/bin/pytest -n 2 --dist loadfile

nbval: $(VENV)/tests
	PYTHONPATH="$(CURDIR)/tools" MOA_MODE=offline MOA_OFFLINE_SPEED=4 $(VENV)/bin/pytest $(NBVAL) $$(ls -r notebooks/*.ipynb)

slow: $(VENV)/tests
	$(VENV)/bin/pytest -n 4 -m slow

colab-check: $(VENV)/ready
	$(VENV)/bin/python tools/colab.py check dist/colab $(NBVAL)

%/ready: requirements.txt constraints.txt pyproject.toml tools/install
	@$(@D)/bin/python -c '' 2>/dev/null || { rm -rf $(@D) && python=$$(tools/find-python $(PYTHONS)) && \
	    echo "Setting up $(@D) with $$python." && "$$python" -m venv $(@D); }
	tools/install $(@D) $(REQUIREMENTS) $(CONSTRAINTS)
	@touch $@

.venv-3.11/ready: tests/older-constraints.txt

%/tests: %/ready tests/requirements.txt
	tools/install $(@D) -r tests/requirements.txt $(CONSTRAINTS)
	@touch $@
