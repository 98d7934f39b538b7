# What one does with a checkout. Everything is installed into .venv, once; `make clean` takes it away again.

# The distribution's Python where it is new enough: it is built with optimisations that one compiled by hand often
# lacks, and runs the proxy a third faster for it.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
# Test files at a time. Most of their time is waiting for processes, so it may be more than there are cores.
JOBS ?= 3
BIN := $(VENV)/bin

# twistd finds the commands and plugins of a checkout only with its root on the path. (.venv has it there, too, for who
# calls .venv/bin/rolling-router without make.)
export PYTHONPATH := .

# The account at a registry, or HOST:PORT/ACCOUNT at one of your own: `make publish REGISTRY_NAME=me`.
REGISTRY_NAME ?= localhost
VERSION = $(shell sed -n 's/^version = //p' setup.cfg)
IMAGE = $(REGISTRY_NAME)/rolling-router-sticky-sessions:$(VERSION)

# mypyc's output, one directory for each checkout; nothing of it is seen by what runs from the checkout itself.
FAST := build/fast

.PHONY: fast test-fast bench-fast help run tutorial test check docs pictures bench fuzz chaos soak image publish test-image clean
.DELETE_ON_ERROR:
# Two installations into one .venv at a time would spoil it.
.NOTPARALLEL:

help:
	@echo "make run         two versions of Hello World and the router before them (PROXY_PORT=8000 ADMIN_PORT=8080)"
	@echo "make tutorial    play the tutorial's 68 items on this machine, and say how each ended (ARGS='--to F' for a part)"
	@echo "make test        all tests (ARGS='-k cookie' to choose; JOBS=1: one file at a time)"
	@echo "make check       ruff and mypy"
	@echo "make docs        write the pages of options from the options"
	@echo "make pictures    take the pictures of docs/ anew: five minutes of a release in Chromium"
	@echo "make bench       the router beside nginx, HAProxy, Caddy, Envoy and twisted.web (ARGS='--rounds 5'; see bench/)"
	@echo "make fuzz        looks for bytes that the message code does not stand (FUZZ_SECONDS=60 for each of four targets)"
	@echo "make chaos       changes, kills and replaces everything under load; no request may fail (CHAOS_SECONDS=120 CHAOS_SEEDS=10)"
	@echo "make soak        the same for long: memory and descriptors must come back; build/soak.png (SOAK_SECONDS=1800)"
	@echo "make image       build REGISTRY_NAME/rolling-router-sticky-sessions:VERSION with Docker, Podman or Buildah"
	@echo "make publish     push that image: make publish REGISTRY_NAME=your-account, after docker login"
	@echo "make test-image  build the image in a chroot, without an engine, and try it out; wants to be root"
	@echo "make fast        dist/: a wheel whose engine is machine code; needs a C compiler and a minute"
	@echo "make test-fast   the tests of what runs, with that engine"
	@echo "make bench-fast  the benchmark, with that engine"
	@echo "make clean       remove .venv, .demo, .tutorial and what was built, images excepted"

run: $(VENV)/.has-demo
	$(BIN)/python -m examples.demo

tutorial: $(VENV)/.has-test
	@.ci/needs git curl jq node npm recode chromium
	$(BIN)/python -m examples.tutorial $(ARGS)

test: $(VENV)/.has-test
	@.ci/needs nginx curl openssl git jq node npm recode chromium /usr/share/fonts/truetype/nanum
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.has-check $(VENV)/.has-test  # mypy follows imports into optional packages
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.has-test
	$(BIN)/python docs/options.py

pictures: $(VENV)/.has-test
	@.ci/needs chromium /usr/share/fonts/truetype/nanum
	$(BIN)/python docs/pictures.py

bench: $(VENV)/.has-bench
	@.ci/needs nginx haproxy wrk
	$(BIN)/python -m bench $(ARGS)

fuzz: $(VENV)/.has-fuzz
	$(BIN)/python -m fuzz

chaos: $(VENV)/.has-test
	$(BIN)/python -m tests.chaos

soak: $(VENV)/.has-test $(VENV)/.has-soak
	$(BIN)/python -m tests.chaos.soak

# BASE in IMAGE_OPTIONS is the Dockerfile's: make image IMAGE_OPTIONS='--build-arg BASE=python:3.13-slim'
image:
	@engine=$$(image/engine) && set -x && BUILDAH_FORMAT=docker $$engine build \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
		$(IMAGE_OPTIONS) --tag $(IMAGE) .
	@echo "built $(IMAGE)"

publish:
	@[ '$(REGISTRY_NAME)' != localhost ] || { echo 'Where to? make publish REGISTRY_NAME=your-account' >&2; exit 1; }
	@engine=$$(image/engine) && set -x && $$engine push $(PUSH_OPTIONS) $(IMAGE)
	@echo "published $(IMAGE)"

test-image: $(VENV)/.has-test
	@.ci/needs buildah debootstrap docker-registry ip
	tests/image/run $(ARGS)

# A copy of what git has, so that compiled modules can never hide a source that was edited since.
$(FAST)/.built: $(VENV)/.has-check $(VENV)/.has-test $(shell git ls-files 2>/dev/null)
	@.ci/needs gcc python3-config git
	rm -rf $(FAST) && mkdir -p $(FAST)
	git ls-files -z | xargs -0 cp --parents --no-dereference --target-directory=$(FAST)
	cd $(FAST) && ROLLING_ROUTER_COMPILE=1 $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

fast: $(FAST)/.built
	cd $(FAST) && ROLLING_ROUTER_COMPILE=1 $(CURDIR)/$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation \
		--disable-pip-version-check --wheel-dir $(CURDIR)/dist .
	@ls dist/*.whl

test-fast: $(FAST)/.built
	@.ci/needs nginx curl openssl git node npm
	cd $(FAST) && $(CURDIR)/$(BIN)/python -m pytest -p no:cacheprovider --ignore-glob='tests/test_packaging*' \
		--ignore=tests/test_third_party.py --ignore=tests/test_docs.py --ignore-glob='tests/test_image*' \
		--ignore=tests/test_tutorial.py $(ARGS)

bench-fast: $(FAST)/.built $(VENV)/.has-bench
	@.ci/needs nginx haproxy wrk
	cd $(FAST) && $(CURDIR)/$(BIN)/python -m bench --json $(CURDIR)/build/bench-fast.json $(ARGS)

clean:
	rm -rf $(VENV) .demo .tutorial .fuzz build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra of setup.cfg, so that the second `make` has nothing to install.
$(VENV)/.has-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@echo '$(CURDIR)' >"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/needs python3-venv
	$(PYTHON) -m venv $(VENV)
