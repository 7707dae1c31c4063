"""What the scripts of data_prep share; each module is named after one concept.

`corpora` (what there is and where), `download`, `archives` (safe unpacking), `texts` (checked
reading), `get` (any source -> plain text), `moses` (tokens), `subwords` (sentencepiece, BPE),
`binarise` (fairseq-preprocess), `card` (what came out), `stages` (skip, resume, provenance).
"""
