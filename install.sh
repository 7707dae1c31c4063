#!/usr/bin/env bash
# Makes a virtual environment with this package, its recipes and its tests.
#   ./install.sh PYTHON FOLDER        1.5 GB and about 2 minutes on a CPU machine
# A machine without an NVIDIA driver gets torch's CPU build, where one can be had.
set -euo pipefail

python="${1:?usage: install.sh PYTHON FOLDER}"
folder="${2:?usage: install.sh PYTHON FOLDER}"
here="$(cd "$(dirname "$0")" && pwd)"
cpu_builds="https://download.pytorch.org/whl/cpu"

"${python}" -m venv "${folder}"
pip=("${folder}/bin/python" -m pip install --quiet --disable-pip-version-check)
constraints=(--constraint "${here}/constraints.txt")

if ! command -v nvidia-smi >/dev/null; then
  echo "install.sh: no NVIDIA driver here: looking for torch's CPU build" >&2
  # An index that cannot be reached is skipped after one try.
  "${pip[@]}" --retries 0 --timeout 10 --extra-index-url "${cpu_builds}" "${constraints[@]}" torch
fi
echo "install.sh: installing fairseq, this package and its tools into ${folder}" >&2
"${pip[@]}" "${constraints[@]}" --editable "${here}[dev]"
