"""Packaging of fairseq_gradinit; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "fairseq_gradinit" / "__init__.py").read_text(encoding="utf-8")
(VERSION,) = re.findall(r'^__version__ = "(.+?)"', INIT, re.MULTILINE)

# Where Hydra looks for plugins, in every folder of this name that pip has filled.
HYDRA_PLUGIN = "hydra_plugins.fairseq_gradinit"

# Official fairseq 0.12.2 cannot be imported on Python 3.11 or later (mutable
# dataclass defaults). ve-fairseq is upstream fairseq with those defaults mended
# and brings the same module `fairseq`: never install both.
FAIRSEQ = [
    "ve-fairseq>=0.12.3,<0.13",
    "hydra-core>=1.3.2,<1.4",
    "omegaconf>=2.3,<2.4",
    "torch>=2.6",
    "msgspec>=0.18",
]

# data_prep/ and recipes/: corpora, scores, tables and figures.
RECIPES = [
    "altair>=5.4",
    "jinja2>=3.1",
    "lxml>=4.9",
    "matplotlib>=3.7",
    "pandas>=2.2",
    "pooch>=1.8",
    "rich>=13",
    "sacrebleu>=2.4",
    "sacremoses>=0.1.1",
    "scipy>=1.11",
    "sentencepiece>=0.2",
    "submitit>=1.5",
    "subword-nmt>=0.3.8",
    "tqdm>=4.60",
    "vl-convert-python>=1.7",
]

# --optimizer schedule_free.
OPTIMIZERS = ["schedulefree>=1.4"]

# The site of docs/ (make docs).
DOCS = ["mkdocs-material>=9.6,<10"]

DEV = [
    *OPTIMIZERS,
    *DOCS,
    "build>=1.2",
    "hypothesis>=6.100",
    "mypy>=1.8",
    "pandas-stubs",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "ruff>=0.4",
]

setup(
    name="fairseq_gradinit",
    version=VERSION,
    description="Train Post-LN Transformers in fairseq without learning-rate warmup (GradInit)",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The fairseq_gradinit authors",
    project_urls={"Method (Zhu et al. 2021)": "https://arxiv.org/abs/2102.08098"},
    license="MIT",
    python_requires=">=3.11,<3.13",
    packages=[
        *find_packages(include=["fairseq_gradinit", "fairseq_gradinit.*"]),
        HYDRA_PLUGIN,
    ],
    package_dir={HYDRA_PLUGIN: "fairseq_gradinit/hydra_plugin"},
    package_data={"fairseq_gradinit": ["py.typed"]},
    install_requires=FAIRSEQ,
    extras_require={
        "optimizers": OPTIMIZERS,
        "recipes": RECIPES,
        "docs": DOCS,
        "dev": RECIPES + DEV,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
