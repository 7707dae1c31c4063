# Sourced by every recipe: data_prep's `options` and `die`, the engine, the repository as folder.

GIVEN_THREADS="${OMP_NUM_THREADS:-}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "${ROOT}/data_prep/lib/common.sh"
# data_prep fixes one thread a process; the engine shares the cores out over its jobs.
[[ -n "${GIVEN_THREADS}" ]] || unset OMP_NUM_THREADS

# Defaults of what every grid takes.
DATA='' JOBS="$(env -u OMP_NUM_THREADS nproc)" CLUSTER=local GPUS=0 PARTITION='' MINUTES=1440 CPUS=1 EARLY_STOP=0
GRID_OPTIONS="out data raw-dir jobs cluster gpus partition minutes cpus early-stop dry-run!"

# recipe "$@": read the options, then work from the repository's root, where
# --user-dir fairseq_gradinit is found; paths below it stay relative, so a grid can be moved.
recipe() {
  options "${GRID_OPTIONS}" "$@"
  OUT="$(realpath -m --relative-base="${ROOT}" "${OUT}")"
  DATA="$(realpath -m --relative-base="${ROOT}" "${DATA:-${OUT}/data}")"
  [[ -z "${RAW_DIR}" ]] || RAW_DIR="$(realpath -m "${RAW_DIR}")"
  cd "${ROOT}"
}

# prepare SCRIPT OPTION...: the corpus, unless it is there.
prepare() {
  [[ -z "${DRY_RUN}" && ! -e "${DATA}/provenance.json" ]] || return 0
  bash "data_prep/$1" --out "${DATA}" ${RAW_DIR:+--raw-dir "${RAW_DIR}"} "${@:2}"
}

engine() { "${PYTHON}" -m recipes.engine "$@"; }

# grid OPTION... -- FLAG...: run what is missing, then write the report.
grid() {
  local code=0
  engine run --out "${OUT}/grid" --data "${DATA}" --jobs "${JOBS}" --cluster "${CLUSTER}" \
    --gpus "${GPUS}" --partition "${PARTITION}" --minutes "${MINUTES}" --cpus "${CPUS}" \
    --early-stop "${EARLY_STOP}" ${DRY_RUN:+--dry-run} "$@" || code=$?
  # One cell that failed is no reason to withhold the others' results.
  [[ -n "${DRY_RUN}" || "${code}" -gt 1 ]] || engine report "${OUT}/grid" --to "${OUT}/report"
  return "${code}"
}
