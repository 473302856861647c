# make         show this
# make demo    install, run a small study whose truth ships, write its report; MNIST joins where it can be fetched
# make quick   lint, types, and the short tests that start no process: a minute
# make test    install, fetch MNIST, start the devcluster where possible, lint, types, all tests
# make lint    ruff and mypy
# make docs    write the reference pages from the code, then build the site into docs/_build/html
# make measure all tests; writes their times to tests/measured.json, so that the longest start first
# make bench   nllgen beside its peers and its own limits; tables in benchmarks/results
# make coverage  lines and branches that the tests reach: benchmarks/results/coverage.md
# make soak    thousands of faults: schedules, mutated files, full disks, kills; benchmarks/results/soak.md, kills.md
#              (root)
# make lowest  plan, status, collect and report with the lowest versions that pyproject.toml admits; make newest
#              with the newest ones
# make apptainer  install Apptainer on Debian 12 (root)
# make cluster-up, make cluster-down
#              a real Slurm of four virtual nodes on this machine (Debian, root), for tests/cluster
#
# PYTHON: 3.11 or newer.  VENV: the virtual environment.  ROOT: the directory of the demo's study.

PYTHON ?= python3
VENV ?= .venv
ROOT ?= runs

BIN := $(VENV)/bin
NLLGEN := $(BIN)/nllgen
STAMP := $(VENV)/.nllgen-installed
STUDY := $(ROOT)/demo
SHELL := /bin/bash

# pip's progress: one line that is redrawn on a terminal, a few plain lines in a log
define PIP_PROGRESS
/^Collecting / { count++; text = "        package " count " of about " total ": " $$2; \
	if (terminal) printf "\r\033[K%s", text; else if (count % 25 == 0) print text; fflush() } \
/^(ERROR|error|  error)/ { print > "/dev/stderr" } \
/^Installing collected/ { if (terminal) printf "\r\033[K"; print "        all fetched; unpacking them, which takes the longest"; fflush() }
endef

.DEFAULT_GOAL := help
.PHONY: help demo quick test measure coverage lint docs bench soak lowest newest install mnist constraints lock apptainer apptainer-if-possible programs-if-possible cluster-up cluster-down cluster-if-possible

help:
	@sed -n '/^# /s/^# //p;/^$$/q' $(firstword $(MAKEFILE_LIST))

demo: install
	@echo "2 of 4  MNIST, for the runs on real images; at most a minute"
	@timeout 60 $(NLLGEN) assets fetch mnist || \
		echo "MNIST cannot be fetched here: the runs on it are left out, and the report says so"
	@echo "3 of 4  the study: about 30 runs, 2 to 5 minutes on 2 cores"
	@$(NLLGEN) submit demo --local --wait --root $(ROOT)
	@echo "4 of 4  the report: about 15 seconds"
	@$(NLLGEN) report $(STUDY) --out $(STUDY)/report
	@echo
	@echo "the report: $(abspath $(STUDY)/report/report.html)"
	@echo "next: $(NLLGEN) status $(STUDY)        the state of each run"
	@echo "      $(NLLGEN) plan laptop            the same questions in two hours; docs/tutorial.md: a study of your own"

quick: lint
	$(BIN)/python -m pytest --numprocesses $$(nproc) --quick -q

test: mnist lint cluster-if-possible apptainer-if-possible programs-if-possible
	$(BIN)/python -m pytest --numprocesses auto

measure: mnist cluster-if-possible apptainer-if-possible programs-if-possible
	$(BIN)/python -m pytest --numprocesses auto --measure tests/measured.json

# COLUMN: the heading of this measurement in the table.
COLUMN ?= now
coverage: mnist cluster-if-possible apptainer-if-possible programs-if-possible
	$(BIN)/python -m benchmarks coverage --column $(COLUMN)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo "the site: $(abspath docs/_build/html/index.html)"

bench: mnist
	$(BIN)/python -m pip install --quiet --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

# Bounded in number and time: NLLGEN_SOAK_S seconds for each part, half an hour by default.
soak: mnist cluster-up
	NLLGEN_SOAK=1 $(BIN)/python -m pytest tests/faults
	SLURM_CONF=$${NLLGEN_DEVCLUSTER:-/var/lib/nllgen-devcluster}/etc/slurm.conf $(BIN)/python -m benchmarks soak kills
	NLLGEN_SOAK=1 $(BIN)/python -m pytest tests/cluster/test_killed_submitters.py tests/cluster/test_kills.py

lowest: install
	$(BIN)/python tests/lowest_versions

newest: install
	$(BIN)/python tests/lowest_versions --newest

cluster-up:
	slurm/devcluster/up

cluster-down:
	slurm/devcluster/down

# Without a cluster its tests skip and say why; NLLGEN_REQUIRE_CLUSTER=1 makes them fail instead.
# NLLGEN_REQUIRE_CONTAINER=1 does the same for Apptainer and tests/container.
apptainer-if-possible:
	@containers/apptainer-up --if-possible || test "$$NLLGEN_REQUIRE_CONTAINER" != 1

# Chromium and pdfLaTeX for tests/analysis, zsh and fish for tests/cli: NLLGEN_REQUIRE_BROWSER=1, NLLGEN_REQUIRE_LATEX=1.
programs-if-possible:
	@tests/analysis/programs-up --if-possible || \
		test "$$NLLGEN_REQUIRE_BROWSER" != 1 -a "$$NLLGEN_REQUIRE_LATEX" != 1

cluster-if-possible:
	@slurm/devcluster/up || test "$$NLLGEN_REQUIRE_CLUSTER" != 1

install: $(STAMP)

mnist: install
	$(NLLGEN) assets fetch mnist

$(STAMP): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: nllgen needs Python 3.11 or newer; $(PYTHON) is older or missing" >&2; \
		echo "  → make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments: its venv module is missing" >&2; \
		echo "  → Debian, Ubuntu: apt-get install python3-venv; or name another Python: PYTHON=…" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "1 of 4  packages into $(VENV): 1 to 5 minutes the first time, torch is the largest"
	@set -o pipefail; $(BIN)/python -m pip install --progress-bar off -c constraints.txt -e '.[train,analysis,docs,test]' 2>&1 | \
		awk -v total=$$(grep -c == constraints.txt) -v terminal=$$(test -t 1 && echo 1 || echo 0) '$(PIP_PROGRESS)'
	@touch $@

# Needs root. On a cluster, the administrators install Apptainer.
apptainer:
	containers/apptainer-up

# The packages of the container with their hashes, resolved by pip under constraints.txt.
lock:
	$(PYTHON) containers/make-lock

# The newest versions that fit the pinned torch; the comment at the top of the file is kept.
constraints:
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	grep -E '^torch(vision)?==' constraints.txt > $(VENV)-constraints/torch.txt
	$(VENV)-constraints/bin/python -m pip install -qq -c $(VENV)-constraints/torch.txt -e '.[train,analysis,docs,test]'
	grep '^#' constraints.txt > $(VENV)-constraints/new.txt
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable | grep -v '^#' | sed 's/+.*//' >> $(VENV)-constraints/new.txt
	mv $(VENV)-constraints/new.txt constraints.txt
	rm -rf $(VENV)-constraints
