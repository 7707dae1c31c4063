# make quickstart   the main job on real text: three trainings, one table, one picture
# make test         the tests; make test-slow: the long ones; make lint, make clean
# make docs         the site of docs/ in outputs/site, warnings being errors
# make dist         wheel and sdist in dist/, the wheel installed and run on 3.11 and 3.12
# make bench        what everything costs, one table; make bench-more: growth, 16 bit, preparation
# make faults       hundreds of kills, full disks and damaged files; results/faults.json
# make fuzz         125,000 mutated files; results/fuzz.json (both go on after a kill)
# make mutation     small changes of the code that a test must notice; results/mutation.json
# Set PYTHON to choose the interpreter, VENV the environment's folder.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
IN := $(VENV)/bin

.PHONY: quickstart test test-slow faults fuzz mutation lint docs dist bench bench-more clean install

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

mutation: $(VENV)/installed
	$(IN)/python -m pip install --quiet --constraint constraints.txt cosmic-ray==8.7.0
	exec env OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(IN)/python -m mutation $(ARGS)

lint: $(VENV)/installed
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/mypy

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(IN)/python -m mkdocs build --strict

dist: $(VENV)/installed
	rm -rf build dist
	$(IN)/python -m build --outdir dist .
	$(IN)/python -m pytest -m slow tests/test_release.py

bench: $(VENV)/installed
	OMP_NUM_THREADS=1 $(IN)/python bench/run.py --out outputs/bench $(ARGS)

bench-more: $(VENV)/installed
	OMP_NUM_THREADS=1 $(IN)/python bench/growth.py --out outputs/bench
	OMP_NUM_THREADS=1 $(IN)/python bench/sixteen_bit.py --out outputs/bench/sixteen_bit.json
	$(IN)/python bench/constraint.py --layers 2 --width 32 --tokens 256 --iters 40
	$(IN)/python bench/data_prep_wmt.py --pairs 20000 --folder outputs/bench \
		--log outputs/bench/data_prep.json --workers 2

clean:
	rm -rf $(VENV) outputs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

install: $(VENV)/installed

$(VENV)/installed: setup.py constraints.txt install.sh
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 with venv found; install one" \
		"(Debian: apt-get install python3.11-venv) or give PYTHON=/path/to/python" >&2; exit 1; }
	./install.sh "$(PYTHON)" "$(VENV)"
	@touch $@
