"""WMT-sized preparation: time, memory and throughput on generated pairs.

Question: does data_prep/wmt14_en_de.sh take 4.5 M pairs in bounded memory, and what does it cost
beside fairseq-preprocess alone on the same text?

    python bench/data_prep_wmt.py --pairs 4500000 --folder SCRATCH --log results/data_prep/wmt.json

Needs about 12 GB in SCRATCH. Half an hour to an hour on 2 cores. Expect a peak below 1.5 GB.
The text is generated (words by Zipf's law from a made lexicon), so that anyone can
repeat it; the two sides of a pair agree in length only, and no stage looks at more.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TYPES, CHUNK = 400_000, 20_000
MEAN_WORDS = 12  # a side; WMT'14 en-de has about 25: time grows with it, memory does not


def generate(folder: Path, pairs: int) -> None:
    """Write train, valid and test below `folder`; the same bytes for the same `pairs`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = 1.0 / np.arange(1, TYPES + 1)
    bounds = np.cumsum(weights / weights.sum())
    for side, language in enumerate(("en", "de")):
        lexicon = _lexicon(np.random.default_rng(side))
        for split, lines in (("train", pairs), ("valid", 3_000), ("test", 3_003)):
            path = folder / f"{split}.{language}"
            if path.exists():
                continue
            rng, length_rng = np.random.default_rng([side, lines]), np.random.default_rng(lines)
            partial = path.with_name(path.name + ".partial")
            with open(partial, "w", encoding="utf-8") as stream:
                for begin in range(0, lines, CHUNK):
                    size = min(CHUNK, lines - begin)
                    shared = length_rng.gamma(2.0, MEAN_WORDS / 2.0, size)
                    noise = 1 + 0.08 * rng.standard_normal(size)  # few pairs above ratio 1.5
                    lengths = np.clip(1 + shared * noise, 1, 80).astype(int)
                    words = lexicon[np.searchsorted(bounds, rng.random(lengths.sum()))].tolist()
                    ends = np.cumsum(lengths).tolist()
                    stream.writelines(
                        " ".join(words[a:b]) + ".\n" for a, b in zip([0, *ends], ends)
                    )
            partial.replace(path)


def _lexicon(rng: np.random.Generator) -> np.ndarray:
    """`TYPES` made words; frequent ones are short."""
    onsets = [*"bdfghklmnprstvwz", "sch", "st", "br", "gr", "kl"]
    rhymes = [*"aeiouäöü", "ei", "au", "an", "en", "in", "er", "el", "um", "ung", "ich", "ost"]
    syllables = np.array([a + b for a in onsets for b in rhymes])
    growth = np.log10(np.arange(1, TYPES + 1)) / 2.5
    sizes = 1 + np.minimum(growth + rng.random(TYPES), 3).astype(int)
    picks = syllables[rng.integers(len(syllables), size=(TYPES, sizes.max()))].tolist()
    return np.array(["".join(pick[:size]) for pick, size in zip(picks, sizes)], dtype=object)


class PeakMemory(threading.Thread):
    """Samples the memory of a process and its descendants twice a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.done = pid, threading.Event()
        self.one_process_mb = self.all_processes_mb = 0.0

    def run(self) -> None:
        while not self.done.wait(0.5):
            # PSS shares forked pages fairly: the sum is what the machine really holds.
            sizes = [_memory_mb(pid) for pid in _descendants(self.pid)]
            self.one_process_mb = max([self.one_process_mb, *(rss for rss, _ in sizes)])
            self.all_processes_mb = max(self.all_processes_mb, sum(pss for _, pss in sizes))


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(d for child in children for d in _descendants(int(child)))]


def _memory_mb(pid: int) -> Any:
    try:
        fields = dict(
            line.split(":")
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
    except (OSError, ValueError):
        return 0.0, 0.0
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("Rss", "Pss"))


def measure(command: list[str], pairs: int, workers: int, environment: dict[str, str]) -> dict:
    """Run a command; wall seconds, CPU seconds, peak memory, throughput."""
    before, begin = os.times(), time.time()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stderr)
    memory = PeakMemory(process.pid)
    memory.start()
    code = process.wait()
    memory.done.set()
    memory.join()
    seconds, after = time.time() - begin, os.times()
    if code:
        sys.exit(f"error: {' '.join(command)} ended with {code}")
    cpu = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return {
        "wall_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_rss_largest_process_mb": round(memory.one_process_mb),
        "peak_pss_all_processes_mb": round(memory.all_processes_mb),
        "pairs_per_second": round(pairs / seconds),
        "pairs_per_cpu_second": round(pairs / cpu),
        "workers": workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4_500_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    raw, out = args.folder / f"raw-{args.pairs}", args.folder / f"out-{args.pairs}"
    generate(raw, args.pairs)
    stages: dict[str, Any] = {}
    environment = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = ["bash", str(ROOT / "data_prep/wmt14_en_de.sh"), "--out", str(out)]
    script += ["--raw-dir", str(raw), "--workers", str(args.workers)]
    # One stage more each time, to time each; those before it are found done and skipped.
    for name in ("get", "learn", "segment", "binarise", "card"):
        command = [*script, "--until", name]
        stages[name] = measure(command, args.pairs, args.workers, environment)
        print(name, json.dumps(stages[name]), file=sys.stderr, flush=True)
        _write(args, stages)
    stages["whole script again, all stages skipped"] = measure(
        script, args.pairs, args.workers, environment
    )
    alone = [sys.executable, "-m", "fairseq_cli.preprocess", "--source-lang", "en"]
    alone += ["--target-lang", "de", "--joined-dictionary", "--workers", str(args.workers)]
    for split in ("train", "valid", "test"):
        alone += [f"--{split}pref", str(out / "segmented" / split)]
    alone += ["--destdir", str(args.folder / f"alone-{args.pairs}")]
    subprocess.run(["rm", "-rf", alone[-1]], check=True)
    stages["fairseq-preprocess alone"] = measure(alone, args.pairs, args.workers, environment)
    _write(args, stages)


def _write(args: argparse.Namespace, stages: dict[str, Any]) -> None:
    """The log so far, whole or not at all."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    record = {
        "command": f"python bench/data_prep_wmt.py --pairs {args.pairs} --workers {args.workers}",
        "commit": commit,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.platform()}",
        "load_average_at_end": os.getloadavg(),
        "pairs": args.pairs,
        "stages": stages,
    }
    args.log.parent.mkdir(parents=True, exist_ok=True)
    partial = args.log.with_name(args.log.name + ".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(args.log)


if __name__ == "__main__":
    main()
