"""The data sets: four densities in the plane, sampled afresh, and images, read from disk."""
