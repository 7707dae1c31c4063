# Sourced by every script: `options` reads the command line, `prep` runs one stage.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The interpreter: the one named, the active environment's, what `make` installed, or the system's.
if [[ -z ${PYTHON:-} && -z ${VIRTUAL_ENV:-} && -x $ROOT/.venv/bin/python ]]; then
    PYTHON=$ROOT/.venv/bin/python
fi
PYTHON=${PYTHON:-python3}
export PYTHONUTF8=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the cores are used by processes
export TQDM_MININTERVAL="${TQDM_MININTERVAL:-1}"
PREP_COMMAND=$(printf '%q ' "$0" "$@")
export PREP_COMMAND="${PREP_COMMAND% }"

# Defaults of what every script takes.
OUT='' RAW_DIR=${GRADINIT_RAW_DIR:-} LIMIT=0 WORKERS=$(env -u OMP_NUM_THREADS nproc) DRY_RUN=''
SHARED="out raw-dir limit workers dry-run!"

# One package of each of setup.py's lists; found, not imported, which would take seconds.
PACKAGES_FOUND='from importlib.util import find_spec as f; raise SystemExit(not (f("fairseq") and f("rich")))'

die() {
    echo "error: $*" >&2
    exit 1
}

# options "name flag! ..." "$@": --some-name VALUE (or =VALUE) sets SOME_NAME, --flag sets FLAG=yes.
options() {
    local allowed=" $1 " name value
    shift
    while (($#)); do
        case $1 in
        -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        --*) name=${1#--} name=${name%%=*} ;;
        *) die "$1: not an option; see --help" ;;
        esac
        if [[ $allowed == *" $name! "* ]]; then
            value=yes
        elif [[ $allowed != *" $name "* ]]; then
            die "--$name: not an option of this script; see --help"
        elif [[ $1 == *=* ]]; then
            value=${1#*=}
        else
            (($# > 1)) || die "--$name needs a value; see --help"
            value=$2
            shift
        fi
        name=${name//-/_}
        printf -v "${name^^}" %s "$value"
        shift
    done
    [[ -n $OUT ]] || die "--out DIR is missing: where should the result go?"
    command -v "$PYTHON" >/dev/null || die "PYTHON=$PYTHON: not found; name an interpreter"
    "$PYTHON" -c "$PACKAGES_FOUND" ||
        die "PYTHON=$PYTHON: lacks this project's packages; run make install, or give PYTHON=/path/to/python"
}

# prep STAGE OPTION...: one stage of data_prep/lib with what all stages share.
prep() {
    PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" "$PYTHON" -m data_prep.lib "$@" \
        --out "$OUT" --languages "$SOURCE_LANG" "$TARGET_LANG" --workers "$WORKERS" \
        ${DRY_RUN:+--dry-run}
}

# OUT/raw -> OUT/data-bin with one sentencepiece model and one dictionary for both languages.
joint_sentencepiece() {
    prep learn sentencepiece --size "$SENTENCEPIECE"
    prep segment sentencepiece
    prep binarise --joined-dictionary
    prep card
}
