"""Recipes (bash) and the small engine that runs them as grids (recipes.engine)."""
