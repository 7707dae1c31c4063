# Sourced by every script: `options` reads the command line, `prep` runs one stage.

PYTHON=${PYTHON:-python3}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONUTF8=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the cores are used by processes
export TQDM_MININTERVAL="${TQDM_MININTERVAL:-1}"
PREP_COMMAND=$(printf '%q ' "$0" "$@")
export PREP_COMMAND="${PREP_COMMAND% }"

# Defaults of what every script takes.
OUT='' RAW_DIR=${GRADINIT_RAW_DIR:-} LIMIT=0 WORKERS=$(nproc) DRY_RUN=''
SHARED="out raw-dir limit workers dry-run!"

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
}

# prep STAGE OPTION...: one stage of data_prep/lib with what all stages share.
prep() {
    PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" "$PYTHON" -m data_prep.lib "$@" \
        --out "$OUT" --languages "$SOURCE_LANG" "$TARGET_LANG" --workers "$WORKERS" \
        ${DRY_RUN:+--dry-run}
}
