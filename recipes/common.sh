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
  local home before=''
  home="$(dirname "${DATA}")"
  local noted="${home}/raw-dir.txt"
  [[ ! -d "${noted}" ]] || die "${noted}: is in the way; move it away or give another --out"
  [[ ! -e "${noted}" ]] || before="$(<"${noted}")"
  if [[ -e "${DATA}" && -n "${RAW_DIR}" && "${RAW_DIR}" != "${before}" ]]; then
    begin_anew "${home}" "${before}"
  fi
  mkdir -p "${home}"
  RAW_DIR="${RAW_DIR:-${before}}"
  printf '%s' "${RAW_DIR}" >"${noted}.$$"
  mv -f "${noted}.$$" "${noted}" # whole or not at all, and never through a link
  child bash "data_prep/$1" --out "${DATA}" ${RAW_DIR:+--raw-dir "${RAW_DIR}"} "${@:2}"
}

# begin_anew FOLDER BEFORE: set aside what FOLDER holds; refused where it is not a recipe's, or in use.
begin_anew() {
  local kept lock code
  [[ -e "$1/raw-dir.txt" ]] ||
    die "$1: holds a data folder that no recipe began (raw-dir.txt is missing); give another --out"
  [[ "${RAW_DIR}/" != "$(realpath "$1")/"* ]] ||
    die "--raw-dir ${RAW_DIR}: lies in $1, which would begin anew; move it out or give another --out"
  while IFS= read -r -d '' lock; do
    code=0
    flock -n -E 75 "${lock}" true 2>/dev/null || code=$?
    [[ "${code}" -ne 75 ]] || die "$1: another run is working there; wait for it or stop it"
  done < <(find "${DATA}" -maxdepth 0 -print0; find "$1" -maxdepth 5 -name '*lock' -type f -print0)
  kept="$1/before-$(date +%Y%m%d-%H%M%S)"
  mkdir "${kept}"
  # The corpus last: what is cut short is gone on with by the same command.
  find "$1" -mindepth 1 -maxdepth 1 ! -name 'before-*' ! -name data ! -name raw-dir.txt \
    -exec mv -t "${kept}" {} +
  mv -t "${kept}" "${DATA}"
  echo "$1: was begun with ${2:-a download}; begins anew with ${RAW_DIR}, and keeps what was there in ${kept}"
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
