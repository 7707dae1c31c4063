"""The release: one version everywhere, a wheel of the package alone, and that wheel at work."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from corpus import write_corpus

import fairseq_gradinit

ROOT = Path(__file__).parents[1]
VERSION = fairseq_gradinit.__version__
TRAIN = """
fairseq-preprocess --source-lang de --target-lang en --joined-dictionary --trainpref text/train \
    --validpref text/valid --destdir data-bin
fairseq-train data-bin --user-dir "$(python -m fairseq_gradinit)" --gradinit --arch transformer \
    --encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 \
    --decoder-layers 1 --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 \
    --encoder-attention-heads 2 --decoder-attention-heads 2 --share-all-embeddings \
    --optimizer adam --lr 1e-3 --criterion label_smoothed_cross_entropy --max-tokens 300 \
    --max-update 2 --gradinit-trial 2 --cpu --num-workers 0 --save-dir run
"""
# Hydra finds the package: fairseq's own `translation` knows its flags with no user-dir.
HYDRA = """
cat > mine.yaml <<END
common: {cpu: true}
task: {_name: translation, data: $PWD/data-bin, gradinit: true, gradinit_trial: 0}
model:
  _name: transformer
  share_all_embeddings: true
  encoder: {layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}
  decoder: {layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}
criterion: {_name: label_smoothed_cross_entropy}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
dataset: {max_tokens: 300, num_workers: 0}
optimization: {max_update: 1, lr: [1e-3]}
checkpoint: {save_dir: $PWD/hydra}
END
fairseq-hydra-train --config-dir "$PWD" --config-name mine
"""


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    (paper,) = citation["references"]
    assert len(paper["authors"]) == 6 and paper["url"].endswith("2102.08098")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.findall(r"^## \[(\d.*?)\] - (\S+)$", changelog, re.MULTILINE)
    assert dated[:1] in ([], [(VERSION, str(citation["date-released"]))])


def interpreter(version: str) -> str | None:
    """A Python of this version that can make environments; pyenv's need not be switched to."""
    given = [shutil.which(f"python{version}")]
    given += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    code = f"import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for one in filter(None, given):
        if subprocess.run([one, "-c", code], capture_output=True, check=False).returncode == 0:
            return one
    return None


def must(command: list[str] | str, folder: Path, **environment: str) -> str:
    """What a command prints, which ends well."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shell = isinstance(command, str)
    ended = subprocess.run(
        ["bash", "-euc", command] if shell else command,
        cwd=folder,
        env={**clean, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with wheel and sdist, made by `python -m build` of a copy."""
    found = importlib.util.find_spec("build")
    if found is None or found.origin is None:
        pytest.skip("needs the package `build`")
    folder = tmp_path_factory.mktemp("release")
    ignored = shutil.ignore_patterns(".git", ".venv*", "outputs", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, folder / "copy", ignore=ignored, symlinks=True)
    build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), "copy"]
    must(build, folder, PYTHONPATH=str(Path(found.origin).parents[1]))
    return folder / "dist"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = f"fairseq_gradinit-{VERSION}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{about}/METADATA").decode())
    package = {name for name in names if not name.startswith(about + "/")}
    tracked = must(["git", "ls-files", "fairseq_gradinit"], ROOT).split()
    assert package == {*tracked, "hydra_plugins/fairseq_gradinit/__init__.py"}
    assert metadata["Version"] == VERSION
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.13"}
    assert metadata["Author"] == "The fairseq_gradinit authors"
    needed = [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert not [one for one in needed if "==" in one], "ranges: an exact pin shuts others out"


@pytest.mark.slow
def test_the_sdist_holds_no_tests_or_notes(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert "fairseq_gradinit" in top
    assert not top & {"tests", "docs", "results", "outputs", "recipes", "data_prep", "bench"}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_the_installed_wheel_trains_from_an_empty_folder(built, tmp_path, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    (wheel,) = built.glob("*.whl")
    must([python, "-m", "venv", "venv"], tmp_path)
    install = ["venv/bin/python", "-m", "pip", "install", "--quiet", str(wheel)]
    must([*install, "--constraint", str(ROOT / "constraints.txt")], tmp_path)
    folder = tmp_path / "empty"
    write_corpus(folder / "text", {"train": 200, "valid": 20})
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    where = must("python -m fairseq_gradinit", folder, PATH=path).strip()
    assert Path(where).is_relative_to(tmp_path / "venv")
    log = must(TRAIN, folder, PATH=path)
    assert "GradInit: word frequencies" in log and "done training" in log
    assert (folder / "run" / "gradinit" / "scales.json").is_file()
    assert (folder / "run" / "checkpoint_last.pt").is_file()
    assert "GradInit: word frequencies" in must(HYDRA, folder, PATH=path)
