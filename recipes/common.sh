# Sourced by every recipe: its options, the corpus, the engine, the repository as folder.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# The interpreter: the one named, the active environment's, what `make` installed, or the system's.
if [[ -z "${PYTHON:-}" && -z "${VIRTUAL_ENV:-}" && -x "${ROOT}/.venv/bin/python" ]]; then
  PYTHON="${ROOT}/.venv/bin/python"
fi
PYTHON="${PYTHON:-python3}"
export PYTHONUTF8=1 PYTHONPATH="${ROOT}${PYTHONPATH:+:${PYTHONPATH}}"

die() {
  echo "error: $*" >&2
  exit 1
}

engine() { "${PYTHON}" -m recipes.engine "$@"; }

# recipe "OWN OPTIONS" "$@": read the options (see options.py), then work from the repository's
# root, where --user-dir fairseq_gradinit is found; paths below it stay relative.
recipe() {
  local said
  command -v "${PYTHON}" >/dev/null || die "PYTHON=${PYTHON}: not found; name an interpreter"
  PYTHON="$(command -v "${PYTHON}")"
  said="$("${PYTHON}" -m recipes.options "$0" "$@")" || exit
  eval "${said}"
  cd "${ROOT}"
}

# child COMMAND...: run it in a process group of its own; what ends the recipe ends that group.
child() {
  local code=0
  set -m
  "$@" &
  CHILD=$!
  set +m
  trap 'kill -TERM -- "-${CHILD}"' TERM HUP INT
  while kill -0 "${CHILD}" 2>/dev/null; do
    code=0
    wait "${CHILD}" || code=$?
  done
  trap - TERM HUP INT
  return "${code}"
}

# prepare SCRIPT OPTION...: the corpus in OUT/data, which skips what is done; never in a given
# --data. A folder that was begun with another --raw-dir begins anew; what was there is kept.
prepare() {
  [[ -n "${OWN_DATA}" ]] || return 0
  OWN_DATA='' # once is enough
  local home="${DATA%/data}" before='' kept
  local noted="${home}/raw-dir.txt"
  [[ ! -e "${noted}" ]] || before="$(<"${noted}")"
  if [[ -e "${DATA}" && -n "${RAW_DIR}" && "${RAW_DIR}" != "${before}" ]]; then
    kept="${home}/before-$(date +%Y%m%d-%H%M%S)"
    mkdir "${kept}"
    find "${home}" -mindepth 1 -maxdepth 1 ! -name 'before-*' -exec mv -t "${kept}" {} +
    echo "${home}: was begun with ${before:-a download}; begins anew with ${RAW_DIR}, and keeps what was there in ${kept}"
  fi
  mkdir -p "${home}"
  RAW_DIR="${RAW_DIR:-${before}}"
  printf '%s' "${RAW_DIR}" >"${noted}"
  child bash "data_prep/$1" --out "${DATA}" ${RAW_DIR:+--raw-dir "${RAW_DIR}"} "${@:2}"
}

# cells OPTION... -- FLAG...: check everything, prepare the corpus that the array CORPUS names, run
# what is missing.
cells() {
  local run=(engine run --out "${OUT}/grid" --data "${DATA}" "${PASSED[@]}")
  [[ -z "${DRY_RUN}" ]] || { "${run[@]}" --dry-run "$@"; return; }
  [[ -d "${DATA}/data-bin" ]] || "${run[@]}" --dry-run "$@" >/dev/null || return
  prepare "${CORPUS[@]}" || return
  child "${run[@]}" "$@"
}

# grid OPTION... -- FLAG...: the same, then the report.
grid() {
  local code=0
  cells "$@" || code=$?
  # One cell that failed is no reason to withhold the others' results.
  [[ -n "${DRY_RUN}" || "${code}" -gt 1 ]] || engine report "${OUT}/grid" --to "${OUT}/report" || return
  return "${code}"
}
