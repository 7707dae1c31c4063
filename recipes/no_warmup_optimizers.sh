#!/usr/bin/env bash
# Which optimizer trains Post-LN without warmup, and what do a measured first rate (catapult), a tuned
# warmup and GradInit's start each add to it?
#
#   recipes/no_warmup_optimizers.sh --out outputs/no_warmup_optimizers
#
#   --size S      small, iwslt14 or tiny, as of no_warmup_table.sh; --updates N (400; 20000)
#   --rows R      some rows, by commas (all): OPTIMIZER, OPTIMIZER+catapult, OPTIMIZER+warmup, each also
#                 with +gradinit; OPTIMIZER of adam, radam, gi_adam, modular_adam, modular_sgd, muon,
#                 rotational, adamw2, schedule_free
#   --seeds S     1,2,3: the first screens; --lrs L: of all rows but those in the modular norm;
#   --warmups W   lengths that are tried for warmup; catapult's T is the longest
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus, --early-stop as the
#                 engine's; --dry-run: print cells and an estimate
#
# Each of 54 rows is screened over its learning rates with the first seed; its best setting by validation
# loss then gets the other seeds. OUT/report/no_warmup.md is the table, report.html the curves.
#
# Time: 288 cells, then 108 or a few more, of 3 to 4 minutes of one core. Scores: not run yet.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid size=small|iwslt14|tiny updates= lrs= warmups= seeds=1,2,3 rows=" "$@"
[[ "${SIZE}" == iwslt14 ]] || LRS="${LRS:-1e-3,2e-3,4e-3,8e-3}"
source recipes/staged.sh

# of OPTIMIZER: its rates and flags, without a schedule.
of() {
  case "$1" in
  modular_*) echo 0.12,0.25,0.5,1 "--optimizer $1" ;;
  rotational) echo "${rates}" "${adam/adam/$1} --weight-decay 1" ;; # see no_warmup_table.sh
  *) echo "${rates}" "${adam/adam/$1}" ;;
  esac
}

for optimizer in adam radam gi_adam modular_adam modular_sgd muon rotational adamw2 schedule_free; do
  read -r its flags <<<"$(of "${optimizer}")"
  warm="${decay}" caught="${catapult}"
  # It averages instead of a decay, but may warm up.
  [[ "${optimizer}" != schedule_free ]] || { warm='--lr-scheduler fixed' caught='--lr-scheduler catapult --catapult-decay fixed'; }
  for start in '' +gradinit; do
    with="${start:+--gradinit}"
    # What the start wrote into embedding rows, the published rule would take out again.
    [[ -z "${start}" || "${optimizer}" != modular_* ]] || with+=' --modular-rows start'
    row "${optimizer}${start}" "${its}" 0 '' "${flags} ${warm} ${with}"
    row "${optimizer}+catapult${start}" "${its}" "${warmups##*,}" '' "${flags} ${caught} ${with}"
    row "${optimizer}+warmup${start}" "${its}" "${warmups}" '' "${flags} ${warm} ${with}"
  done
done
stages best adam
