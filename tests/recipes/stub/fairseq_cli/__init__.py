"""Stands in for fairseq's commands in the engine's tests: the same files and logs, in moments."""
