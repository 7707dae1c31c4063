"""Probes of training: gradient flow, sharpness, attention and token spread, every N updates.

docs/probes.md defines each number. `python -m fairseq_gradinit.probes SAVE_DIR` draws them.
"""
