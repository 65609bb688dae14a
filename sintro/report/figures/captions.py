"""What every picture of a cell shows, in words, by the name of its file."""

from pathlib import Path

TRANSLATIONS = "Translations: each image has the class of the first column's image and the content of the first row's"
CAPTIONS = {
    "data.png": "Real data, coloured by mode, arm, square or ring",
    "samples.png": "Samples of the model, from the prior through the decoder",
    "reconstructions.png": "The first 16 test images; under each its reconstruction g(mu(x)) and their squared error",
    "interpolations.png": "Between the codes mu(x) of the first 4 pairs of test images: along the great circle (upper "
    "strip) and straight (lower strip), and below the ELBO of each decoded image; a dip leaves the model's own images",
    "nearest.png": "The 16 samples most like a copy, under each the nearest training image; the number is their "
    "distance as a multiple of that image's distance to its own nearest neighbour",
    "class_shares.png": "Shares of the classes among samples and training images, as the data set's classifier tells "
    "them",
    "mode_classes.png": "Which classes each mode of the prior makes, by falling weight",
    "translations.png": f"{TRANSLATIONS}; beside them the true images, where they are known",
    "mode_images.png": "The means of the prior's modes through the decoder, by falling weight, with their weights",
    "mode_samples.png": "Samples of the prior's heaviest modes, a row each, by falling weight",
    "responsibilities.png": "Mean responsibility of each mode over the test images, from snapshot to snapshot",
    "distances.png": "The distance that selects the published checkpoint, over the epochs",
    "density.png": "Density map: exp(−energy) over the plane, relative to its peak; bright is probable",
    "latent.png": "Latent space: posterior samples coloured by label, the prior's modes as discs sized by weight, "
    "crosses where dead (responsibility below 1/K²)",
    "ood.png": "Out-of-distribution detection: scores of the model's own kind of data (filled) and of other data "
    "(lines); the less they overlap, the better the score detects",
    "history.png": "Losses, reconstruction and KL over the iterations; the warm-up is shaded",
}
OF_IMAGES = CAPTIONS | {
    "data.png": "Test images",
    "latent.png": "Latent space: posterior means along their first two principal components, coloured by label",
}


def figure_paths(folder: Path) -> list[Path]:
    """List the pictures that a cell may have in its folder, whether or not they are there."""
    return [folder / name for name in CAPTIONS]
