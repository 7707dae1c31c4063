"""Readers of the forms in which corpora are published: pairs of files -> pairs of lines."""

from .texts import read_pairs

READERS = {"plain": read_pairs}
