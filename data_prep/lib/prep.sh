# Sourced by every script: `prep CORPUS FORM_OPTION... -- "$@"` reads the user's options over those
# of the form, then does what is not done yet.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The interpreter: the one named, the active environment's, what `make` installed, or the system's.
if [[ -z ${PYTHON:-} && -z ${VIRTUAL_ENV:-} && -x $ROOT/.venv/bin/python ]]; then
    PYTHON=$ROOT/.venv/bin/python
fi
PYTHON=${PYTHON:-python3}
export PYTHONUTF8=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the cores are used by processes
export TQDM_MININTERVAL="${TQDM_MININTERVAL:-1}"

prep() {
    command -v "$PYTHON" >/dev/null || {
        echo "error: PYTHON=$PYTHON: not found; name an interpreter" >&2
        exit 1
    }
    local command
    command=$(printf '%q ' "$0" "${GIVEN[@]}")
    PREP_SCRIPT=$0 PREP_COMMAND=${command% } PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" \
        exec "$PYTHON" -m data_prep.lib "$@"
}
GIVEN=("$@")
