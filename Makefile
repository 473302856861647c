# make demo    install, fetch MNIST, run the smallest whole study, write its report
# make test    install, fetch MNIST, start the devcluster where possible, lint, types, tests
# make lint    ruff and mypy alone
# make apptainer  install Apptainer on Debian 12, as root
# make docs    write the pages that are made from the code: docs/commands.md, keys.md, layout.md
# make bench   the project beside its peers and limits; tables in benchmarks/results/
# make soak    thousands of faults: schedules, mutated files, full disks, kills; benchmarks/results/soak.md, kills.md
#              (root)
# make cluster-up, make cluster-down
#              a real Slurm of four virtual nodes on this machine (Debian, root), which tests/cluster uses
#
# PYTHON: 3.11 or newer.  VENV: where to install.  ROOT: where the demo's study goes.

PYTHON ?= python3
VENV ?= .venv
ROOT ?= runs

BIN := $(VENV)/bin
NLLGEN := $(BIN)/nllgen
STAMP := $(VENV)/.nllgen-installed
STUDY := $(ROOT)/smoke

.PHONY: demo test lint docs bench soak install mnist constraints lock apptainer apptainer-if-possible programs-if-possible cluster-up cluster-down cluster-if-possible

demo: mnist
	$(NLLGEN) submit --grid smoke --local --wait --root $(ROOT)
	$(NLLGEN) collect $(STUDY)
	$(NLLGEN) report $(STUDY)/study.h5 --out $(STUDY)/report
	@echo
	@echo "the report: $(abspath $(STUDY)/report/report.html)"

test: mnist lint cluster-if-possible apptainer-if-possible programs-if-possible
	$(BIN)/python -m pytest --numprocesses auto

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python docs/generate.py

bench: mnist
	$(BIN)/python -m pip install --quiet --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

# Bounded in count and in time: NLLGEN_SOAK_S seconds a part, half an hour where not given.
soak: mnist cluster-up
	NLLGEN_SOAK=1 $(BIN)/python -m pytest tests/faults
	SLURM_CONF=$${NLLGEN_DEVCLUSTER:-/var/lib/nllgen-devcluster}/etc/slurm.conf $(BIN)/python -m benchmarks soak kills

cluster-up:
	slurm/devcluster/up

cluster-down:
	slurm/devcluster/down

# Without it the cluster tests skip and say why; NLLGEN_REQUIRE_CLUSTER=1 makes them fail instead.
# The same with Apptainer, NLLGEN_REQUIRE_CONTAINER=1 and tests/container.
apptainer-if-possible:
	@containers/apptainer-up --if-possible || test "$$NLLGEN_REQUIRE_CONTAINER" != 1

# Chromium and pdfLaTeX for tests/analysis: NLLGEN_REQUIRE_BROWSER=1, NLLGEN_REQUIRE_LATEX=1.
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
	@echo "installing nllgen and torch into $(VENV), which takes a few minutes the first time"
	$(BIN)/python -m pip install --quiet --quiet -c constraints.txt -e '.[train,analysis,test]'
	@touch $@

# Needs root; elsewhere, Apptainer is the site's to install.
apptainer:
	containers/apptainer-up

# What the image holds, with hashes, from constraints.txt: by pip, as this machine is set up and by the index alone.
lock:
	$(PYTHON) containers/make-lock

# The newest versions that fit the pinned torch; the comment at the top of the file is kept.
constraints:
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	grep -E '^torch(vision)?==' constraints.txt > $(VENV)-constraints/torch.txt
	$(VENV)-constraints/bin/python -m pip install -qq -c $(VENV)-constraints/torch.txt -e '.[train,analysis,test]'
	grep '^#' constraints.txt > $(VENV)-constraints/new.txt
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable | grep -v '^#' | sed 's/+.*//' >> $(VENV)-constraints/new.txt
	mv $(VENV)-constraints/new.txt constraints.txt
	rm -rf $(VENV)-constraints
