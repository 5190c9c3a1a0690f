# What a person needs: setup, demo, test, lint, torch, bench, docs. Each may be run again at any time.
#
#   PYTHON=python3.12           the interpreter that .venv is made with (3.11 or newer)
#   GPUCTL_TEST_E2E=0           make test without the end-to-end tests
#   GPUCTL_TEST_UNTIL=SECONDS   seconds since 1970 by which tests have to end: lanes that do not fit are told, not begun
#   LAB=demo                    name of the lab that `make demo` makes

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Where the environment has it, each start of gpuctl and of Ansible would compile all that it imports: half of its time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
LAB ?= lab
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
GPUCTL := $(BIN)/gpuctl

# Test hosts (systemd-container qemu-system-x86 e2fsprogs mmdebstrap iproute2 nftables iptables conntrack openssh-client),
# the component build (gcc libc6-dev dpkg-dev apt-utils gnupg ca-certificates debian-archive-keyring), the virtual environment.
PACKAGES := python3-venv systemd-container qemu-system-x86 e2fsprogs mmdebstrap iproute2 nftables iptables conntrack \
  openssh-client gnupg apt-utils dpkg-dev gcc libc6-dev ca-certificates debian-archive-keyring

.PHONY: help setup packages demo demo-down test lint unit fuzz e2e components torch bench audit docs lock

help:
	@echo "make setup   Debian packages and .venv with gpuctl in it"
	@echo "make demo    three test hosts, a cluster on them, proof on every simulated GPU (as root)"
	@echo "make test    lint, unit, content and golden tests, then the end-to-end tests (as root)"
	@echo "make lint    ruff, mypy, import-linter, yamllint, ansible-lint"
	@echo "make fuzz    everything that hosts, files and servers may say: make test takes a share of it"
	@echo "make torch   optional: trains with PyTorch on test hosts under each launcher (as root)"
	@echo "make bench   how long things take, side by side with a plain shell script (as root)"
	@echo "make audit   known weaknesses of the Python packages in the lock (asks PyPI)"
	@echo "make docs    the generated pages"

setup: packages $(STAMP)

packages:
	@command -v dpkg-query >/dev/null || { echo "setup: not a Debian system: install what corresponds to: $(PACKAGES)"; exit 0; }; \
	missing=$$(for p in $(PACKAGES); do \
	  dpkg-query --show --showformat='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done | xargs); \
	[ -n "$$missing" ] || exit 0; \
	as_root=""; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	if [ -n "$$as_root" ] && ! command -v sudo >/dev/null; then \
	  echo "setup: these Debian packages are missing, and installing them needs root: $$missing" >&2; exit 2; fi; \
	echo "setup: installing Debian packages: $$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$as_root apt-get update -qq; \
	$$as_root apt-get install -y -qq --no-install-recommends $$missing

# Rebuilt when the lock or the metadata changes; without its stamp (first time, or interrupted) it is made anew.
# Most of what is installed is never imported here: what is gets compiled then. gpuctl's runs of Ansible write no bytecode.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 setup" >&2; exit 2; }
	@echo "setup: making $(VENV) from requirements.lock"
	@rm -f $@
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 "$$($(BIN)/python -c 'import ansible; print(*ansible.__path__)')"
	@touch $@

define need_root
	@[ "$$(id -u)" = 0 ] || { echo "$@: test hosts need root: run sudo make $@" >&2; exit 2; }
endef

components: setup
	@$(GPUCTL) testvm components build

demo: setup
	$(need_root)
	$(GPUCTL) testvm components build
	$(GPUCTL) testvm up --name $(LAB)
	$(GPUCTL) bootstrap --inventory $(LAB).ini
	$(GPUCTL) verify-gpus --inventory $(LAB).ini
	@echo
	@echo "look around:   $(GPUCTL) testvm ssh --name $(LAB) cp1 -- kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes"
	@echo "               $(GPUCTL) testvm ssh --name $(LAB) gpu1 -- nvidia-smi"
	@echo "               $(GPUCTL) bootstrap --inventory $(LAB).ini      (again: nothing to do)"
	@echo "take it down:  make demo-down$(if $(filter lab,$(LAB)),, LAB=$(LAB))"

demo-down: setup
	$(need_root)
	$(GPUCTL) testvm down --name $(LAB)

test: setup
	@$(MAKE) --output-sync=target --jobs=2 lint unit
	@if [ "$${GPUCTL_TEST_E2E:-1}" = 0 ]; then echo "test: end-to-end tests left out (GPUCTL_TEST_E2E=0)"; \
	 else $(MAKE) e2e; fi

unit: setup
	$(BIN)/pytest --numprocesses auto tests/unit tests/content tests/golden tests/fuzz

# All of the seeded corpora; `make unit` runs a fixed share of them.
fuzz: setup
	GPUCTL_FUZZ=all $(BIN)/pytest --numprocesses auto tests/fuzz

# The main job first, three lanes at a time, long ones early.
LANES := $(addprefix tests/e2e/test_,main_job.py nfs.py launch.py addons.py control_planes.py minikube.py)
LANES += $(addprefix tests/e2e/test_,minikube_failures.py interruptions.py)
LANES += $(filter-out $(LANES),$(sort $(wildcard tests/e2e/test_*.py)))

e2e: setup
	$(need_root)
	$(GPUCTL) testvm components build
	$(BIN)/python -m tests.e2e.lanes $(LANES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline

# Optional: trains with PyTorch on test hosts; the image for it takes minutes to make.
torch: setup
	$(need_root)
	GPUCTL_TEST_TORCH=1 $(BIN)/pytest -s tests/e2e/test_torch.py

bench: setup
	$(need_root)
	$(BIN)/python -m tests.bench

# In an environment of its own: neither gpuctl nor its tests need it.
AUDIT := $(VENV)/audit
$(AUDIT)/bin/pip-audit: | setup
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

audit: $(AUDIT)/bin/pip-audit
	@$(BIN)/python tools/audit.py $(AUDIT)/bin/pip-audit

docs: setup
	$(BIN)/python tools/generate_docs.py

# Needs pip-tools, which is not in the lock: it is not needed to use it.
lock:
	@$(PYTHON) -c 'import tomllib; d = tomllib.load(open("pyproject.toml", "rb")); \
	print("\n".join(d["project"]["dependencies"] + d["dependency-groups"]["dev"]))' > $(VENV)/requirements.in
	@$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --no-emit-options --strip-extras --allow-unsafe --no-annotate --no-header \
	  --output-file requirements.lock $(VENV)/requirements.in
