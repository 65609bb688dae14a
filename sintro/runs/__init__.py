"""Runs: the folder of a cell, who holds it, what is in it, and what is still to be done. Little here imports torch."""
