# The work is done by bootstrap/, which needs nothing but Python 3.11 or newer:
# `python3 -m bootstrap run` is the same as `make run`.
PYTHON ?= python3

.PHONY: help run test check e2e format lock bench soak compare screenshots

help:
	@$(PYTHON) -m bootstrap --help

run test check e2e format lock bench soak compare screenshots:
	@$(PYTHON) -m bootstrap $@
