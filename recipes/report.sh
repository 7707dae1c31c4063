#!/usr/bin/env bash
# What came out of a grid? Tables, heat maps, curves, learned scales, and report.html with all.
#
#   recipes/report.sh GRID [DIR]
#
#   GRID   folder of a grid, as a recipe leaves it in OUT/grid; it may still be running
#   DIR    where the report goes (default: GRID/report)
#
# Seconds for sixty cells on one core; the paired bootstrap of the BLEU differences takes longest.

set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
GRID="$(realpath -m "$1")"
TO="$(realpath -m "${2:-$1/report}")"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "${ROOT}"
engine report "${GRID}" --to "${TO}"
