# Everything a person or a machine does with this checkout. `make help` lists it; CI runs `make check`.

PYTHON ?= python3
BIN := .venv/bin
# Two workers suit the smallest machine; `make test WORKERS=8` on a larger one, WORKERS=0 to debug.
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS)
# make test ARGS="-k redeem"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check lint setup test-setup bench mutants messages clean

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name does; do \
		printf '  make %-11s %s\n' "$$name" "$$does"; done

demo: setup  ## set everything up and run the demo shop (PORT=8000)
	@exec $(BIN)/flask demo

test: test-setup  ## set everything up and run the tests (ARGS="-k redeem")
	@$(PYTEST) $(ARGS)

check: test-setup lint  ## what CI runs: style, types, every test, and a test that skips is a failure
	@REQUIRE_ALL=1 $(PYTEST) $(ARGS)

lint: test-setup  ## style and types alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

setup: have-python  ## packages, browser files, fonts, translations and Pango, without starting anything
	@$(PYTHON) -m setup

test-setup: have-python  ## the same, and what the tests need
	@$(PYTHON) -m setup --tests

bench: test-setup  ## measure the promises about speed
	@$(BIN)/python -m bench $(ARGS)

mutants: test-setup  ## take the safety rules out one at a time and see their tests fail (ARGS="F38")
	@$(BIN)/python -m tests.mutants $(ARGS)

messages: test-setup  ## collect new texts into both translations and compile them
	@$(BIN)/python -m setup.catalogues --collect

clean:  ## remove what was made here (.venv, static/vendor, caches); the data in instance/ stays
	rm -rf .venv static/vendor build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f translations/*/LC_MESSAGES/*.mo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: have-python
have-python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "Vouchsafe needs Python 3.11 or newer, and there is no '$(PYTHON)' here." >&2; \
		echo "Debian, Ubuntu: sudo apt-get install python3 python3-venv    macOS: brew install python" >&2; exit 1; }
