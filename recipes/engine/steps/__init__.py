"""What is done for one cell: train, decode, score; and what is checked before the first."""
