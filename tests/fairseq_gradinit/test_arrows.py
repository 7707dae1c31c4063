"""Imports run one way: hook → before_training → run, batches, records, log → gradinit."""

import ast
from pathlib import Path

import fairseq_gradinit

ROOT = Path(fairseq_gradinit.__file__).parent
FIRST = ("errors", "ranges", "encoders", "measures", "borrowed", "settings", "blocks")
# gradinit's files, each of which may import those before it.
GRADINIT = (
    *(*FIRST, "unigram", "branches", "scales", "gradient", "start"),
    *("products", "constraint", "iteration", "paper", "multistep", "learn", "trial"),
)
NEVER = {"fairseq", "omegaconf", "hydra", "fairseq_gradinit"}


def imports(path):
    """(level, module) of each import in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)


def test_gradinit_knows_neither_fairseq_nor_what_lies_above_it():
    for path in (ROOT / "gradinit").glob("*.py"):
        for level, name in imports(path):
            assert level < 2 and not (level == 0 and name.split(".")[0] in NEVER), (path, name)


def test_gradinits_files_import_downwards():
    for at, one in enumerate(GRADINIT):
        found = {name for level, name in imports(ROOT / "gradinit" / f"{one}.py") if level == 1}
        assert found <= set(GRADINIT[:at]), one


def test_only_the_tasks_know_the_hook_and_only_the_hook_what_comes_before_training():
    users = {"hook": {"tasks.py"}, "before_training": {"hook.py"}}
    for path in ROOT.rglob("*.py"):
        for _, name in imports(path):
            module = name.rpartition(".")[2]
            assert path.name in users.get(module, {path.name}), (path, name)
