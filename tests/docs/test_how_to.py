"""Every command of docs/how-to/ runs as printed, on a model and a corpus made small.

Blocks marked `bash` are run, those marked `console` only shown; `python` and `yaml` blocks are the
files that the text before them names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import write_corpus

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`(\w+/\w+\.(?:py|yaml))`:\s*\Z")
# argparse and Hydra take the last of what is given twice.
SMALL = [
    *("--encoder-layers=1", "--encoder-embed-dim=16", "--encoder-ffn-embed-dim=32"),
    *("--decoder-layers=1", "--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32"),
    *("--encoder-attention-heads=2", "--decoder-attention-heads=2", "--max-tokens=300"),
    *("--cpu", "--num-workers=0", "--no-progress-bar", "--gradinit-trial=2"),
    "--fp16-no-flatten-grads",  # flat ones need a GPU
]
SMALL_HYDRA = [
    *("+model.encoder.layers=1", "+model.encoder.embed_dim=16", "+model.encoder.ffn_embed_dim=32"),
    *("+model.decoder.layers=1", "+model.decoder.embed_dim=16", "+model.decoder.ffn_embed_dim=32"),
    *("+model.encoder.attention_heads=2", "+model.decoder.attention_heads=2"),
    *("dataset.max_tokens=300", "++dataset.num_workers=0", "optimization.max_update=3"),
    *("++common.cpu=true", "+task.gradinit_trial=2"),
]
# What stands before the real command on PATH: the same with a small model.
SHIMS = {
    "fairseq-train": f"""
import sys
from fairseq_cli.train import cli_main
short = [] if sys.argv.count("--max-update") > 1 else ["--max-update=51"]
if __name__ == "__main__":  # fairseq spawns processes that read this file
    sys.argv += {SMALL!r} + short
    cli_main()""",
    "fairseq-hydra-train": f"""
import sys
from fairseq_cli.hydra_train import cli_main
sys.argv += {SMALL_HYDRA!r}
cli_main()""",
    "fairseq-generate": """
import sys
from fairseq_cli.generate import cli_main
sys.argv += ["--cpu", "--max-len-b=20"]
cli_main()""",
    "python": f"""
import os, sys
small = {SMALL!r} if "fairseq_gradinit.lr_range" in sys.argv else []
os.execv(sys.executable, [sys.executable, *sys.argv[1:], *small])""",
}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Kind, file name and text of each block of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        named = FILE.search(text[: block.start()])
        found.append((block[1], named[1] if named else "", block[2]))
    return found


def script(page: Path) -> str:
    """All `bash` blocks of a page, in their order."""
    return "\n".join(text for kind, _, text in blocks(page) if kind == "bash")


def run(folder: Path, commands: str) -> str:
    """What the commands print, which end well."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PATH": f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
        + os.environ["PATH"],
        "PYTHON": sys.executable,
    }
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, commands + "\n" + (ended.stdout + ended.stderr)[-3000:]
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder as the pages assume it: the repository's scripts, two text files, and the training
    of own_corpus.md done."""
    folder = tmp_path_factory.mktemp("how_to")
    for name in ("data_prep", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    for name, code in SHIMS.items():
        shim = folder / "bin" / name
        shim.write_text(f"#!{sys.executable}\n{code.lstrip()}\n", encoding="utf-8")
        shim.chmod(0o755)
    write_corpus(folder, {"train": 600})
    for language in ("de", "en"):
        (folder / f"train.{language}").rename(folder / f"text.{language}")
    run(folder, script(PAGES["own_corpus"]))
    return folder


def training() -> str:
    """The array `train` of own_corpus.md."""
    (found,) = re.findall(r"^train=\(.*?^\)$", script(PAGES["own_corpus"]), re.M | re.S)
    return found + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if name != "own_corpus"])
def test_the_commands_of_a_page_run(place, name):
    for kind, file, text in blocks(PAGES[name]):
        if kind in ("python", "yaml") and file:
            (place / file).parent.mkdir(exist_ok=True)
            (place / file).write_text(text, encoding="utf-8")
    log = run(place, training() + script(PAGES[name]))
    for words in EXPECTED.get(name, ()):
        assert words in log


# What a page says that its commands print, or what shows that they did it.
EXPECTED = {
    "learning_rate": ["vouched for", "lr_range_40/lr_range.svg"],
    "did_it_work": ["GradInit: word frequencies", "source_worth="],
    "scales_json": ["out_proj.weight", "fit to train: ", "nothing was learned"],
    "resume": ["weights were loaded into this model; it is left alone"],
    "several_gpus": ["gloo in place of nccl", "training on 2 devices"],
    "hydra": ["GradInit: word frequencies"],
    "own_task": ["GradInit: word frequencies"],
    "sixteen_bit": ["GradInit: word frequencies"],
    "slurm": ["--gradinit", "--warmup-updates 1000"],
}


@pytest.mark.slow
def test_the_own_corpus_is_scored(place):
    assert (place / "checkpoints" / "mine" / "gradinit" / "scales.json").is_file()
    hypotheses = (place / "hypotheses.txt").read_text(encoding="utf-8").splitlines()
    reference = (place / "data" / "mine" / "raw" / "test.en").read_text(encoding="utf-8")
    assert len(hypotheses) == len(reference.splitlines()) > 20


def test_every_page_has_commands_and_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(PAGES) >= 10
    for name, page in PAGES.items():
        assert script(page), name
        assert f"how-to/{name}.md" in navigation
