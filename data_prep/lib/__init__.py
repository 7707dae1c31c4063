"""What the scripts of data_prep share, one idea a file.

`options` and `prep` (a script's options, then its row of stages); `corpora` (what there is and
where), `find` (where it is now), `fetch`, `debian`, `archives`, `packed` (bytes that others
made), `texts`, `markup`, `forms`, `help_pages` (their text); the stages `get`, `clean` (with
`moses`), `subwords`, `binarise`, `card`; `stages` and `record` (skip, resume, provenance),
`blocks` (many cores).
"""
