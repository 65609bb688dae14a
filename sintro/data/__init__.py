"""The data sets: four densities in the plane, sampled anew for every batch, and images, read from disk."""
