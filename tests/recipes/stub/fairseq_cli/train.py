"""A training whose state is a number that every update changes: a lost or repeated update shows.

--lr 1 "diverges": NaN as fairseq reports it, ending in NanDetector's StopIteration; --lr 2 never
leaves the plateau; --lr 3 is an error of the user's; --lr 4 is killed by the system. The rest
trains. Like fairseq it resumes from checkpoint_last.pt and copies checkpoints in place.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path

UPDATES, SAVE_EVERY = 20, 5

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--lr", type=float)
parser.add_argument("--save-dir", type=Path)
parser.add_argument("--seconds", type=float, default=0.0)
args, _ = parser.parse_known_args()


def log(kind, **values):
    print(f"2026 | INFO | {kind} | {json.dumps(values)}", flush=True)


def save(update, state):
    args.save_dir.mkdir(parents=True, exist_ok=True)
    numbered = args.save_dir / f"checkpoint_1_{update}.pt"
    with zipfile.ZipFile(f"{numbered}.tmp", "w") as archive:
        archive.writestr("state", json.dumps([update, state]) + " " * 200_000)
    Path(f"{numbered}.tmp").rename(numbered)
    shutil.copyfile(numbered, args.save_dir / "checkpoint_last.pt")


if args.lr == 3:
    sys.exit("fairseq-train: error: argument --foo: invalid choice")
if args.lr == 4:
    os.kill(os.getpid(), signal.SIGKILL)
update, state = 0, 7
last = args.save_dir / "checkpoint_last.pt"
if last.exists():
    with zipfile.ZipFile(last) as archive:
        update, state = json.loads(archive.read("state"))
while update < UPDATES:
    time.sleep(args.seconds / UPDATES)
    update, state = update + 1, (state * 31 + update) % 1009
    loss = 10.0 if args.lr == 2 else 9.0 - 6.0 * update / UPDATES + state / 10_000
    log("train_inner", num_updates=str(update), nll_loss=f"{loss:.4f}", ups="50")
    if args.lr == 1 and update == 8:
        print("FloatingPointError: gradients are Nan/Inf", file=sys.stderr)
        raise StopIteration
    if update % SAVE_EVERY == 0:
        log("valid", valid_num_updates=str(update), valid_nll_loss=f"{loss:.4f}")
        save(update, state)
