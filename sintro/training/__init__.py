"""Training: from a cell to a model, with a checkpoint at any time."""
