# `make` lists what there is. Windows has no make: the README gives the same commands for it.
VENV = .venv
PYTHONS = 3.13 3.12 3.11 python3
REQUIREMENTS = -r requirements.txt
CONSTRAINTS = -c constraints.txt
FIRST = notebooks/01-one-question-three-vendors.ipynb
TEXTS = *.md docs/*.md notebooks/*.ipynb notebooks/real/*.ipynb moa_helpers
REAL = notebooks/real/real-models.ipynb
REAL_TESTS = -m "real and not slow" tests/real
JUPYTER = $(VENV)/bin/jupyter lab $$(test "$$(id -u)" != 0 || echo --allow-root) $(LAB) --LabApp.default_url=/lab/tree
# What JupyterLab does by default when it is started out of .venv: it does not ask whether to fetch news.
QUIET = $(VENV)/share/jupyter/lab/settings/overrides.json
# Kernels wait more than they compute, so there are more of them than processors; the longest notebooks come first.
NBVAL = -p started_again -n 4 --dist loadfile --no-loadscope-reorder -W ignore \
    --nbval --nbval-current-env --nbval-cell-timeout=300 --nbval-kernel-startup-timeout=60
# Some containers set it. Then each kernel would compile thousands of imported files anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab lab-local test test-latest test-all test-colab browser real clients ray notebooks real-notebook links \
    wheel colab site picture release facts bench constraints clean lint checks unit nbval slow colab-check

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | while IFS=@ read -r name what; do \
	    printf '  make %-13s %s\n' "$$name" "$$what"; done

lab: $(QUIET) ## open JupyterLab with the first notebook (options in LAB="--no-browser --port 8888")
	@echo "Starting JupyterLab; its page opens in a few seconds. Ctrl-C twice ends it."
	@exec $(JUPYTER)/$(FIRST)

$(QUIET): $(VENV)/warm
	@mkdir -p $(@D)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' >$@

lab-local: $(QUIET) ## the same with a real model on this machine, fetched and served, and a notebook about it
	exec $(VENV)/bin/python tools/local.py $(JUPYTER)/$(REAL)

test: $(VENV)/tests ## unit tests, all notebooks' outputs, and beside them make lint: style, types, imports, spelling, English
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
.venv-clients/ready: tests/real/clients/requirements.txt

ray: .venv-ray/ready ## many questions on a Ray cluster: two nodes on this machine, of which one dies
	RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/pytest -rs --durations=5 -m ray tests/ray

.venv-ray/ready: REQUIREMENTS = -e .[ray] -r tests/ray/requirements.txt
.venv-ray/ready: tests/ray/requirements.txt

notebooks: $(VENV)/tests ## execute all notebooks offline, in place, and bring them into normal form
	$(VENV)/bin/python tools/notebooks.py notebooks/*.ipynb

real-notebook: $(VENV)/ready ## execute the notebook on real models anew, and store what a real model answered
	$(VENV)/bin/python tools/local.py $(VENV)/bin/python tools/notebooks.py $(REAL)

links: $(VENV)/ready ## write the project's address (from pyproject.toml) into the badges of README and notebooks
	$(VENV)/bin/python tools/links.py

wheel: $(VENV)/ready ## build dist/moa_helpers-*.whl
	rm -rf build dist
	$(VENV)/bin/python -m pip wheel -q --no-deps -w dist .

colab: wheel ## build dist/colab/*.ipynb: notebooks that hold the package, each to upload alone to Google Colab
	$(VENV)/bin/python tools/colab.py notebooks dist/*.whl

site: .venv-site/ready ## build the documentation site, site/_build/html/index.html, from README, docs and stored outputs
	rm -rf site/_build
	.venv-site/bin/sphinx-build -q -n -W --keep-going -j auto -c site -d site/_build/doctrees . site/_build/html
	@echo "Open site/_build/html/index.html"

.venv-site/ready: REQUIREMENTS = -r site/requirements.txt
.venv-site/ready: site/requirements.txt

picture: $(VENV)/tests ## take the README's picture of the playground anew; needs a browser
	$(VENV)/bin/python tools/picture.py notebooks/images/playground.png

release: .venv-release/ready ## build what would go to PyPI, run the lesson from it, and say how to upload it; uploads nothing
	.venv-release/bin/python tools/release.py $(TAG) -- $(NBVAL)

.venv-release/ready: REQUIREMENTS = build twine

facts: .venv-facts/ready ## ask what may have become untrue: lists of models (where a key is set), prices, shutdown dates, every link
	@.venv-facts/bin/python tools/facts.py

.venv-facts/ready: REQUIREMENTS = genai-prices
.venv-facts/ready: CONSTRAINTS =

bench: bench-overhead bench-tail bench-survival bench-liars bench-panel bench-comparison bench-serve bench-bulk bench-batch ## benchmarks; about an hour

bench-ray: .venv-ray/ready
	RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/python benchmarks/on_ray.py

bench-%: .venv-bench/ready
	.venv-bench/bin/python benchmarks/$*.py

.venv-bench/ready: REQUIREMENTS = -r benchmarks/requirements.txt
.venv-bench/ready: benchmarks/requirements.txt

constraints: $(VENV)/ready ## bring constraints.txt to the newest versions; then make test says whether they do
	@uv=$$(command -v uv || echo $(VENV)/bin/uv) && sed '/^[^#]/,$$d' constraints.txt >constraints.new && \
	    "$$uv" pip compile -q --upgrade --universal --python-version 3.11 --fork-strategy fewest --no-header \
	    --no-annotate --no-emit-package moa-helpers requirements.txt tests/requirements.txt \
	    --extra local pyproject.toml >>constraints.new
	mv constraints.new constraints.txt

clean: ## remove all that the other targets made
	rm -rf .venv .venv-* .models build dist site/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

lint: $(VENV)/tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell $(TEXTS) tools tests benchmarks
	$(VENV)/bin/python tools/prose.py $(TEXTS)
	$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.github-issue-forms $$(ls .github/ISSUE_TEMPLATE/*.yml | grep -v config)
	$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.citation-file-format CITATION.cff

checks: unit nbval

unit: $(VENV)/tests
	$(VENV)/bin/pytest -n 2 --dist loadfile

nbval: $(VENV)/tests
	PYTHONPATH="$(CURDIR)/tools" MOA_MODE=offline MOA_OFFLINE_SPEED=4 $(VENV)/bin/pytest $(NBVAL) $$(ls -r notebooks/*.ipynb)

slow: $(VENV)/tests
	$(VENV)/bin/pytest -n 4 -m slow

colab-check: $(VENV)/ready
	$(VENV)/bin/python tools/colab.py check dist/colab $(NBVAL)

# Environments of their own, with the newest versions of what they list.
.venv-clients/ready .venv-ray/ready .venv-site/ready .venv-release/ready .venv-bench/ready: CONSTRAINTS =

%/ready: requirements.txt constraints.txt pyproject.toml tools/install tools/step
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(@D) && python=$$(tools/find-python $(PYTHONS)) && \
	    echo "Setting up $(@D) with $$python. Ctrl-C stops it, and the same command goes on from there." && \
	    tools/step "Making an empty environment" "$$python" -m venv $(@D); }
	@tools/install $(@D) $(REQUIREMENTS) $(CONSTRAINTS)
	@touch $@

# What is imported for the first time is compiled; here that can be seen, in the first cell it could not.
%/warm: %/ready
	@tools/step "Reading each package once, so that the first cell need not wait" $(@D)/bin/python -uc \
	    'import importlib, sys; [print(name) or importlib.import_module(name) for name in sys.argv[1:]]' \
	    jupyterlab.labapp ipykernel.kernelapp ipywidgets pandas matplotlib.pyplot openai anthropic mistralai
	@touch $@

.venv-3.11/ready: tests/older-constraints.txt

%/tests: %/ready tests/requirements.txt
	@tools/install $(@D) -r tests/requirements.txt $(CONSTRAINTS)
	@touch $@
