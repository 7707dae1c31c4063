# make quickstart   the main job on real text: three trainings, one table, one picture
# make test         the tests; make test-slow: the long ones; make lint, make bench, make clean
# make faults       hundreds of kills, full disks and damaged files; results/faults.json
# make fuzz         125,000 mutated files; results/fuzz.json (both go on after a kill)
# Set PYTHON to choose the interpreter, VENV the environment's folder.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
IN := $(VENV)/bin

.PHONY: quickstart test test-slow faults fuzz lint bench clean install

# exec: a signal to make reaches the recipe, which ends its trainings.
quickstart: $(VENV)/installed
	exec env PYTHON=$(IN)/python recipes/quickstart.sh --out outputs/quickstart $(ARGS)

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(IN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: $(VENV)/installed
	$(IN)/python -m pytest -m slow $(ARGS)

faults: $(VENV)/installed
	PYTHONPATH=.:tests:tests/support $(IN)/python -m faults $(ARGS)

fuzz: $(VENV)/installed
	PYTHONPATH=.:tests:tests/support $(IN)/python -m faults.fuzz $(ARGS)

lint: $(VENV)/installed
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/mypy

bench: $(VENV)/installed
	$(IN)/python bench/cost.py
	$(IN)/python bench/constraint.py --layers 2 --width 32 --tokens 256 --iters 40
	mkdir -p outputs/bench
	$(IN)/python bench/data_prep_wmt.py --pairs 20000 --folder outputs/bench \
		--log outputs/bench/data_prep.json --workers 2

clean:
	rm -rf $(VENV) outputs build *.egg-info .pytest_cache .mypy_cache .ruff_cache

install: $(VENV)/installed

$(VENV)/installed: setup.py constraints.txt install.sh
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 with venv found; install one" \
		"(Debian: apt-get install python3.11-venv) or give PYTHON=/path/to/python" >&2; exit 1; }
	./install.sh "$(PYTHON)" "$(VENV)"
	@touch $@
