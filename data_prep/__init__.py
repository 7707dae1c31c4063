"""Corpora for the recipes: one bash script per corpus, one small library (`lib`) beside them."""
