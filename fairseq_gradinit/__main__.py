"""`python -m fairseq_gradinit`: the folder to give as --user-dir, from wherever it is asked."""

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).resolve().parent)
