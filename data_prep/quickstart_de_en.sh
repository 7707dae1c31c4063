#!/usr/bin/env bash
# Real German-English text for the quickstart, whatever can be had here, as data-bin for fairseq:
# --raw-dir (Multi30k's files, or the two packages below); else Multi30k's download, if its server
# answers within five seconds; else LibreOffice's help, of which Debian's packages hold the same
# pages in both languages (libreoffice-help-de, -en-us; apt-get download, no root, not installed).
#
#   bash data_prep/quickstart_de_en.sh --out DIR
#
# One minute on 2 cores, 0.5 GB. Expect 29,000 / 1,014 / 1,000 pairs from Multi30k, about
# 30,000 / 1,100 / 1,000 from LibreOffice's help (MPL-2.0), whose valid and test are whole pages.
# Corpus, version and licence of the one used are printed and kept in card.json and provenance.json.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/prep.sh"

prep quickstart --source-lang de --target-lang en --sentencepiece 4000 --joined-dictionary -- "$@"
