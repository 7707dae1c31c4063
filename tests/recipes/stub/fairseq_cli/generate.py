"""Decodes the stub's state: the better trained, the more words of the reference it repeats."""

import argparse
import json
import zipfile
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("data", type=Path)
parser.add_argument("--path", type=Path)
args, _ = parser.parse_known_args()

with zipfile.ZipFile(args.path) as archive:
    state = json.loads(archive.read("state"))[1]
references = (args.data.parent / "raw" / "test.en").read_text().splitlines()
for number in reversed(range(len(references))):  # fairseq decodes in order of length
    words = references[number].split()
    words[state % len(words)] = "x"
    text = " ".join(words)
    print(f"T-{number}\t{references[number]}")
    print(f"H-{number}\t-0.5\t{text}")
    print(f"D-{number}\t-0.5\t{text}")
