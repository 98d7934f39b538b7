# What one does with a checkout. Everything is installed into .venv, once; `make clean` takes it away again.

# The distribution's Python where it is new enough: it is built with optimisations that one compiled by hand often
# lacks, and runs the proxy a third faster for it.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin

# twistd finds the commands and plugins of a checkout only with its root on the path.
export PYTHONPATH := .

.PHONY: help run test check docs bench clean
.DELETE_ON_ERROR:
# Two installations into one .venv at a time would spoil it.
.NOTPARALLEL:

help:
	@echo "make run     two versions of Hello World and the router before them (PROXY_PORT=8000 ADMIN_PORT=8080)"
	@echo "make test    all tests (ARGS='-k cookie' to choose)"
	@echo "make check   ruff and mypy"
	@echo "make docs    write docs/options.md from the options"
	@echo "make bench   the router beside nginx, HAProxy, Caddy, Envoy and twisted.web (ARGS='--rounds 5'; see bench/)"
	@echo "make clean   remove .venv, .demo and what was built"

run: $(VENV)/.has-demo
	$(BIN)/python -m examples.demo

test: $(VENV)/.has-test
	@.ci/needs nginx curl git
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.has-check $(VENV)/.has-test  # mypy follows imports into optional packages
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.has-test
	$(BIN)/python docs/options.py

bench: $(VENV)/.has-bench
	@.ci/needs nginx haproxy wrk
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra of setup.cfg, so that the second `make` has nothing to install.
$(VENV)/.has-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/needs python3-venv
	$(PYTHON) -m venv $(VENV)
