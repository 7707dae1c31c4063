#!/usr/bin/env bash
# Of all ways to train a Transformer without warmup, which is worth it: what BLEU at its best learning
# rate, how much of it when the rate is wrong, up to which rate, at what cost?
#
#   recipes/no_warmup_table.sh --out outputs/no_warmup_table
#   recipes/no_warmup_table.sh --size iwslt14 --out outputs/no_warmup_iwslt14 --cluster slurm --gpus 1
#
#   --size S      small (d = 128, 6+6 layers, Multi30k, CPU with bf16), iwslt14 (transformer_iwslt_de_en,
#                 one GPU a cell), tiny (for tests); --updates N (400; 20000)
#   --rows R      some of the rows below, by commas (all); --seeds S (1,2,3): the first screens
#   --lrs L       of all rows but those in the modular norm; --warmups W: lengths for warmup and catapult
#   --out DIR     where everything goes (run again to continue); --data DIR: data-bin made before
#   --jobs N      cells at a time (default: the cores there are); --raw-dir DIR: local corpus
#   --cluster C   local, slurm or debug; --gpus, --partition, --minutes, --cpus, --early-stop as the
#                 engine's; --dry-run: print cells and an estimate
#
# Stage 1 screens each row over its learning rates with the first seed; stage 2 gives every seed to its
# best setting by validation loss, the worst within a factor 4 and the highest that reads its source, and
# goes on until these stay. OUT/report/no_warmup.md is the table, report.html the curves.
#
# Time: 150 cells, then at most 138, of 3 to 4 minutes of one core (paper: 10 to 15). Scores: not run yet.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
recipe "grid size=small|iwslt14|tiny updates= lrs= warmups= seeds=1,2,3 rows=" "$@"
source recipes/staged.sh

plain="${adam} ${decay}" modular=0.06,0.12,0.25,0.5,1,2
pre='--encoder-normalize-before --decoder-normalize-before'
package='the package' fold='stock after folding'
row none "${rates}" 0 '' "${plain}"
row warmup "${rates}" "${warmups}" '' "${plain}"
row gradinit "${rates}" 0 '' "${plain} --gradinit"
row gradinit-learning "${rates}" 0 '' "${plain} --gradinit --gradinit-iters 40"
row gradinit-paper "${rates}" 0 '' "${plain} --gradinit --gradinit-preset paper"
row unigram "${rates}" 0 '' "${plain} --gradinit --gradinit-start none"
row admin "${rates}" 0 "${fold}" "${plain} --init admin"
row admin_closed "${rates}" 0 "${fold}" "${plain} --init admin_closed"
row tfixup "${rates}" 0 "${package}" "${plain} --init tfixup"
row deepnorm "${rates}" 0 "${fold}" "${plain} --init deepnorm"
row rezero "${rates}" 0 "${package}" "${plain} --init rezero"
row preln "${rates}" 0 '' "${plain} ${pre}"
row preln-small "${rates}" 0 '' "${plain} ${pre} --init small"
row peri_ln "${rates}" 0 "${package}" "${plain} --init peri_ln"
row sigma_reparam "${rates}" 0 "${fold}" "${plain} --init sigma_reparam"
row radam "${rates}" 0 '' "${plain/adam/radam}"
row schedule_free "${rates}" 0 '' "${adam/adam/schedule_free} --lr-scheduler fixed"
row gi_adam "${rates}" 0 '' "${plain/adam/gi_adam}"
row catapult "${rates}" "${warmups}" '' "${adam} ${catapult}"
row modular_adam "${modular}" 0 '' "--optimizer modular_adam ${decay}"
row muon "${rates}" 0 '' "${plain/adam/muon}"
# λ = 1 turns a row at first about as far as Adam does at the same rate.
row rotational "${rates}" 0 '' "${plain/adam/rotational} --weight-decay 1"
row adamw2 "${rates}" 0 '' "${plain/adam/adamw2}"
stages best,worst,highest none
