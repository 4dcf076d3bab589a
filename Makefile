# What people do with a checkout, one word each; `make` alone lists them.
# The set-up itself is in deploy/, as scripts that can be read: a target here only says what it needs and what it starts.
# PYTHON is the environment's own, which set-up makes; nothing here depends on the PATH.
# JOBS: processes among which `test` divides the files, three where two CPUs are, as tests mostly wait; 0: none but pytest's own.

SHELL := /bin/bash
PYTHON := .venv/bin/python
TCPTRACE := .venv/bin/tcptrace
C_FILES = $(shell find bpf -name '*.[ch]')
ARGS ?=
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-distributions test-kernels bench soak fuzz lock sbom deb check format install uninstall clean

help: ## list the targets (this)
	@echo 'usage: make TARGET [ARGS="…"]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## install what `run` needs and is missing: python3-bpfcc, and .venv
	@deploy/setup.sh run

run: setup ## set up, then trace: make run ARGS="--duration 10 --json"
	@exec deploy/as-root.sh "$(CURDIR)/$(TCPTRACE)" run $(ARGS)

demo: setup ## replay a recording that comes along, without root, with /metrics and the page
	@exec $(TCPTRACE) replay tracer/data/demo.tcptrace --speed 1 --listen 127.0.0.1:19293 $(ARGS)

test: ## set up for tests, then run them all; skips are listed at the end: make test ARGS="-k ring" JOBS=0
	@deploy/setup.sh test
	@exec deploy/as-root.sh $(PYTHON) -m pytest -p no:cacheprovider --numprocesses $(JOBS) --dist loadfile $(ARGS)

test-distributions: ## try it in fresh roots of Debian and Ubuntu (root): ARGS="trixie noble -k start"
	@deploy/setup.sh distributions
	@exec deploy/as-root.sh /usr/bin/python3 -m tests.distributions $(ARGS)

test-kernels: ## run kernel tests on other kernels, in emulated machines: make test-kernels ARGS="6.1 7.3 -k follow"
	@deploy/setup.sh guests
	@exec deploy/as-root.sh $(PYTHON) -m tests.guests $(ARGS)

bench: ## measure the tracer beside its peers (root): make bench ARGS="cost truth"
	@deploy/setup.sh bench
	@exec deploy/as-root.sh $(PYTHON) -m tests.bench $(ARGS)

soak: ## twenty minutes of everything at once (root): memory flat, no counter falls, nothing lost uncounted
	@deploy/setup.sh bench
	@exec deploy/as-root.sh $(PYTHON) -m tests.bench.soak $(ARGS)

fuzz: ## a million inputs to everything that reads bytes of others: make fuzz ARGS="ring --executions 10000"
	@deploy/setup.sh fuzz
	@$(PYTHON) -m tests.fuzz $(ARGS)

check: ## ruff, mypy and clang-format, changing nothing
	@deploy/setup.sh check
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(if $(C_FILES),clang-format --dry-run -Werror $(C_FILES))

format: ## let ruff and clang-format rewrite what `check` would refuse
	@deploy/setup.sh check
	$(PYTHON) -m ruff check --fix --exit-zero
	$(PYTHON) -m ruff format
	$(if $(C_FILES),clang-format -i $(C_FILES))

lock: ## write deploy/locked anew: versions and hashes of what is installed; ARGS=--upgrade takes the newest
	@deploy/setup.sh release
	@deploy/lock.sh $(ARGS)

sbom: ## write dist/tcptrace.cdx.json: what an installation has from PyPI, as a CycloneDX bill of materials
	@deploy/setup.sh release
	@mkdir -p dist
	@$(PYTHON) -W ignore -m cyclonedx_py requirements deploy/locked/requirements.txt --pyproject pyproject.toml \
		--output-reproducible --of JSON --output-file dist/tcptrace.cdx.json
	@echo dist/tcptrace.cdx.json

deb: ## write dist/tcptrace-ebpf_*.deb, for this Python and architecture: tcptrace, what it takes from PyPI, the unit
	@deploy/setup.sh release
	@deploy/deb.sh

install: ## install to /opt/tcptrace with the command /usr/local/bin/tcptrace (root)
	@deploy/install.sh install

uninstall: ## remove exactly what `install` made (root)
	@deploy/install.sh uninstall

clean: ## remove .venv, .cache and everything else that make or the tools wrote
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.git -prune -o -name __pycache__ -type d -exec rm -rf {} +
