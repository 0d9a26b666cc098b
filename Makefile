# Everything a reader or an author runs. `make help` lists it; CI runs `make test` and `make book`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PORT   ?= 8000

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed  ## the virtual environment in .venv, with everything pinned

$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.13")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt -c constraints.txt
	@touch $@

book: setup  ## build the book into _build/html
	@# A failed build leaves nothing behind: Sphinx would not repeat its warnings for pages it has read.
	PYODIDE="$$($(BIN)/python book/try/fetch.py)" $(BIN)/jupyter-book build . -W -n --keep-going --quiet || { rm -rf _build; exit 1; }
	@test -f _build/html/notebooks/01_formula.html
	@echo "The book is built. Open _build/html/index.html, or run: make serve"

pdf: book tests/browser/node_modules $(VENV)/pdf  ## the whole book as one PDF, _build/selfattention.pdf; needs Chromium and Node
	$(BIN)/python book/pdf/one_page.py

tests/browser/node_modules: tests/browser/package-lock.json
	@# Without npm, or without its registry, the tests in a browser are skipped, and say so.
	npm ci --prefix tests/browser --no-audit --no-fund || rm -rf $@

model: setup  ## fetch the language model of chapter 15, 93 MB, once and for all
	@# Without a network its tests are skipped, and say so.
	@$(BIN)/python -m selfattention.trained.smollm2 || true

test: book tests/browser/node_modules model  ## every test and every notebook, and the built book
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pytest

notebooks: setup  ## run the notebooks and write their outputs back
	$(BIN)/python notebooks/execute.py

figures: setup  ## run the notebooks and compare what they print and draw with what is committed
	$(BIN)/pytest notebooks

mutants: setup  ## which property tells which named mistake from the right function
	$(BIN)/python -m selfattention.mutants.kill_matrix

strangers: setup  ## what examine makes of each stranger of the corpus: named, called right, blamed, not taken
	PYTHONPATH=tests $(BIN)/python -m strangers.measure

prices: setup  ## what each named mistake costs the trained models; writes it down for chapters 09 and 15
	$(BIN)/python -m selfattention.mutants.prices
	$(BIN)/python -m selfattention.mutants.decoding_prices

pictures: setup  ## the picture of chapter 17, again out of the wheel that it comes from, compared by hashes
	$(BIN)/pip download stardist==0.9.2 --no-deps --only-binary :all: --dest $(VENV)/pictures --quiet \
	  --python-version 3.11 --platform manylinux_2_28_x86_64
	$(BIN)/python -m selfattention.trained.cell_picture $(VENV)/pictures/stardist-0.9.2-*.whl

cells: setup  ## train the nets of chapter 17 that find cells, and those that pass a message; goes on where it was
	$(BIN)/python -m selfattention.trained.cell_runs
	$(BIN)/python -m selfattention.trained.message_runs

recorded: setup  ## what the language model does, written down for the widget of chapter 15
	$(BIN)/python -m selfattention.trained.recorded

dialects: setup  ## ask every library what the formula leaves open, each in its environment: an hour; goes on where it was
	$(BIN)/python -m selfattention.dialects.record $(ARGS)

zoo: setup  ## compute attention of every architecture of transformers again, on tiny random models: some minutes
	$(BIN)/python -m selfattention.dialects.zoo.record $(ARGS)

witness: $(VENV)/witness  ## the language model beside transformers', on the same weights; writes the log
	$(BIN)/pytest -n 0 tests/witness/transformers_agrees.py

layers: $(VENV)/layers  ## examine attention layers of public packages as they are; writes the log
	$(VENV)/of-layers/bin/pytest --noconftest -o addopts= -W default -s -q tests/public_layers/layers_are_right.py

course: setup  ## every chapter as a student's and an instructor's notebook, and the wheel, into _build/course
	$(BIN)/python notebooks/course.py

slides: setup tests/browser/node_modules  ## slides of chapters 01 to 08, _build/slides; needs Node once, for reveal.js
	PYTHONPATH=book/_extensions $(BIN)/python notebooks/slides.py

sizes: setup  ## what the course takes on a laptop: installs it four times, 3 GB, and measures; writes the log
	PYTHONPATH=notebooks $(BIN)/python tests/classroom/sizes.py

classroom: $(VENV)/classroom  ## run every notebook from the wheel, grade eight with Otter and nbgrader; writes the logs, an hour
	$(BIN)/pytest -n 0 tests/classroom/students_run.py
	$(BIN)/pytest -n 0 tests/classroom/light_run.py
	$(BIN)/pytest -n 0 -W default tests/classroom/graders_grade.py

mutate: $(VENV)/mutate  ## change one sign or number of the package at a time: does a test object? an hour
	$(BIN)/python tests/mutation/mutate.py $(ARGS)

kills: setup  ## kill a rank of a ring two hundred times, and count what comes of it; writes the log
	$(BIN)/python tests/kills/kills.py

tried: tests/browser/node_modules  ## try every exercise on the pages of a book that was built with PYODIDE; writes the log
	PYTHONPATH=tests:notebooks:book/_extensions:book/pdf $(BIN)/python tests/tried/tried.py

bench: $(VENV)/peers  ## race implementations, pictures, language model and processes with peers; or make bench ARGS=--quick
	$(BIN)/python benchmarks/race.py $(ARGS)
	$(if $(filter-out --quick,$(ARGS)),,$(BIN)/python benchmarks/vision.py $(ARGS))
	$(if $(filter-out --quick,$(ARGS)),,$(BIN)/python benchmarks/decoding.py $(ARGS))
	$(if $(filter-out --quick,$(ARGS)),,$(BIN)/python benchmarks/devices.py $(ARGS))

$(VENV)/layers: pyproject.toml  # an environment of its own
	$(PYTHON) -m venv $(VENV)/of-layers
	$(VENV)/of-layers/bin/pip install --quiet -e '.[layers,pytest]'
	@touch $@

$(VENV)/peers $(VENV)/mutate $(VENV)/witness $(VENV)/classroom $(VENV)/pdf: $(VENV)/installed
	$(BIN)/pip install --quiet -e '.[$(@F)]' -c constraints.txt
	@touch $@

serve: book  ## show the built book on http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

clean:  ## remove what was built, and the environment
	rm -rf _build build dist tests/browser/node_modules $(VENV) src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup book pdf model test notebooks figures mutants prices pictures cells recorded dialects strangers zoo witness layers course slides sizes classroom mutate kills tried bench serve clean
