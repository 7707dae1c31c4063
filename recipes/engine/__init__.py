"""Grid engine: axes → cells → fairseq-train, fairseq-generate, sacreBLEU → tables and figures.

It drives command lines and knows nothing of the package's inside, except that the run of a
GradInit cell leaves SAVE_DIR/gradinit/{scales.json,iterations.jsonl}, which the report plots.
"""
