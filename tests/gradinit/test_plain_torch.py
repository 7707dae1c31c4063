"""The method without fairseq: what it loads, how fast, and its example as printed."""

import doctest
import subprocess
import sys
import time

import fairseq_gradinit.gradinit as package

LOADED = """
import sys, time, torch
start = time.process_time()
from fairseq_gradinit.gradinit import Settings, learn_scales
print(time.process_time() - start, *sorted({"fairseq", "omegaconf", "hydra"} & set(sys.modules)))
"""


def test_loads_no_fairseq_and_in_a_moment():
    shown = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    seconds, *modules = shown.stdout.split()
    assert not modules
    assert float(seconds) < 0.5


def test_its_example_runs_as_printed():
    assert len([line for line in package.__doc__.splitlines() if line.startswith((">", "."))]) <= 15
    start = time.monotonic()
    assert doctest.testmod(package).failed == 0
    assert time.monotonic() - start < 30
