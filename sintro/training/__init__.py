"""Training: from a cell's settings to its model, through checkpoints from which a stopped run goes on."""
