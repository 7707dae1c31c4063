# Sourced by every recipe: data_prep's `options` and `die`, the engine, the repository as folder.

GIVEN_THREADS="${OMP_NUM_THREADS:-}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "${ROOT}/data_prep/lib/common.sh"
# data_prep fixes one thread a process; the engine shares the cores out over its jobs.
[[ -n "${GIVEN_THREADS}" ]] || unset OMP_NUM_THREADS

# recipe "name flag! ..." "$@": read the options, then work from the repository's root, where
# --user-dir fairseq_gradinit is found; paths below it stay relative, so a grid can be moved.
recipe() {
  options "$@"
  OUT="$(realpath -m --relative-base="${ROOT}" "${OUT}")"
  [[ -z "${DATA:-}" ]] || DATA="$(realpath -m --relative-base="${ROOT}" "${DATA}")"
  [[ -z "${RAW_DIR}" ]] || RAW_DIR="$(realpath -m "${RAW_DIR}")"
  cd "${ROOT}"
}

engine() { "${PYTHON}" -m recipes.engine "$@"; }

# most_jobs N: the cores there are, at most N.
most_jobs() {
  local cores
  cores="$(nproc)"
  echo $((cores < $1 ? cores : $1))
}
