# Sourced by the recipes: `options` reads a command line in bash, `die` ends in one line.

source "$(dirname "${BASH_SOURCE[0]}")/prep.sh"

# Defaults of what every recipe takes.
OUT='' RAW_DIR=${GRADINIT_RAW_DIR:-} DRY_RUN=''

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
