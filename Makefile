PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test test-slow test-older matrix lint format bench browser latex notebooks notebook-outputs \
  docs reports clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the package and its report extra (torch is large: minutes on a first run)"
	$(PIP) -e ".[report]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the package with its development tools (minutes on a first run)"
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.user

DEMO_MODELS := vit-tiny spikformer-tiny ge2mst-tiny
DEMO_PROFILES := $(foreach model,$(DEMO_MODELS),reports/demo/profiles/$(model).json)

demo: $(VENV)/.user
	@mkdir -p reports/demo/profiles
	@for model in $(DEMO_MODELS); do \
	  $(BIN)/analyzer profile $$model --data digits -o reports/demo/profiles/$$model.json || exit 1; done
	@$(BIN)/analyzer compare $(DEMO_PROFILES)
	@$(BIN)/analyzer report $(DEMO_PROFILES) -o reports/demo

notebooks: $(VENV)/.user
	@$(PIP) -e ".[all]"
	$(BIN)/jupyter lab notebooks

# The site, from what is in the repository alone; a warning fails it.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -b html -W --keep-going -n -q -c docs . docs/_build/html
	@echo "wrote docs/_build/html/index.html"

# Runs all notebooks and stores their outputs, as they are committed.
notebook-outputs: $(VENV)/.dev
	$(BIN)/python notebooks/execute.py

# The report page is checked in a real browser; without one those tests skip.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no chromium and none could be installed: the browser tests will skip"

# Tables are compiled by a real LaTeX; without one those tests skip.
latex:
	@command -v pdflatex >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends texlive-latex-base \
	    texlive-latex-recommended texlive-science >/dev/null; } || \
	  echo "no LaTeX and none could be installed: the tests of tables in documents will skip"

test: $(VENV)/.dev browser latex
	$(BIN)/python -m pytest -n auto --durations=25 -m "not download and not slow"

# Whole studies, notebooks and large networks: minutes for some twenty tests.
test-slow: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n auto --durations=10 -m slow

# Older versions of SpikingJelly and snnTorch, installed for the tests alone.
test-older: $(VENV)/.dev
	$(BIN)/python -m pytest -m download tests/measure/test_older_libraries.py

# Versions of Python, PyTorch and the dependencies, each in an environment of its own: gigabytes.
# One row: $(BIN)/nox -s "torch(torch='2.6.0')"; all rows: $(BIN)/nox --list.
matrix: $(VENV)/.dev
	$(PIP) nox
	$(BIN)/nox

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(PIP) --no-deps neurobench
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/overhead.py --memory

PARADIGMS := reports/paradigms/profiles

# All that is committed under reports/, from the profiles that are committed.
reports: $(VENV)/.user
	$(BIN)/analyzer report profiles/vit-tiny.json.gz profiles/spikformer-tiny.json.gz \
	  profiles/ge2mst-tiny.json.gz -o reports/tiny
	$(BIN)/analyzer study paradigms -o reports/paradigms --again
	@test ! -d reports/fashion || $(BIN)/analyzer study paradigms -o reports/fashion --again
	$(BIN)/analyzer study published -o reports/published --again
	$(BIN)/analyzer study reproduction -o reports/reproduction
	@for pair in rate-to-spikformer spikformer-to-spikingformer spikformer-to-exact \
	  spikingformer-to-exact; do \
	  $(BIN)/analyzer explain reports/published/profiles/spikformer-8-512.json.gz \
	    --conventions $$(echo $$pair | sed 's/-to-/,/') -o reports/explanations/$$pair || exit 1; done

	$(BIN)/analyzer memory $(PARADIGMS)/ann.json.gz $(PARADIGMS)/ge2mst-T4.json.gz \
	  $(PARADIGMS)/stbp-T4.json.gz $(PARADIGMS)/converted-T4.json.gz $(PARADIGMS)/converted-T32.json.gz \
	  --precision int8 -o reports/memory
	$(BIN)/analyzer sensitivity $(PARADIGMS)/ge2mst-T4.json.gz --memory spyx \
	  --precision int8 --vary activity=0.5,2 -o reports/sensitivity
	$(BIN)/analyzer timesteps $(foreach T,4 8 16 32,$(PARADIGMS)/converted-T$(T).json.gz) \
	  -o reports/timesteps

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache reports/demo docs/_build
