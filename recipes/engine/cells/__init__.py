"""What a grid is and where its cells keep what: the only place that knows their files."""
