"""Runs: a cell's folder, the lock on it, its files and their judge, and the work that is left. Little imports torch."""
