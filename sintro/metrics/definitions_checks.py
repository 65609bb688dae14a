"""Definitions of what is asked of images beside distances: copies, classes, modes, likeness of reconstructions."""

from sintro.metrics.metric import LABELS, MODES, PERCEPTUAL, SECTION, Direction, Metric

NEEDS = {"class": LABELS, "mode": MODES, "lpips": PERCEPTUAL}  # beginning of a name -> what the metric needs


def _of_images(
    name: str, label: str, definition: str, direction: Direction, unit: str = "share", source: str = "ours"
) -> Metric:
    cited, needed = f"{source}; {SECTION}", NEEDS.get(name.partition("_")[0], "")
    of_classes = needed in (LABELS, MODES) and name != "class_accuracy"
    version = 2 if of_classes else 1  # the first classifier had poor batch-norm statistics
    return Metric(
        name, label, definition, unit, direction, "standard", cited, datasets=("images",), needs=needed, version=version
    )


_CLASSES = "classes as the data set's own classifier tells them, of generated images and of the training images"

CHECKS = (
    _of_images(
        "authenticity", "authenticity", "Share of generated images that are farther from the nearest training image "
        "than that image's own nearest neighbour among the training images is; features in eval mode, training images "
        "of the reference. 0: all are copies. Test images score the floor; a model below it is nearer to the training "
        "images than new images are. Bad images are authentic too.", "none", source="Alaa et al. 2022",
    ),
    _of_images(
        "authenticity_floor", "authenticity, floor", "Authenticity of the test images.", "none",
        source="Alaa et al. 2022",
    ),
    _of_images(
        "class_accuracy", "accuracy of the classifier", "Share of test images whose class the data set's own "
        "classifier tells: how far the class shares and the purity of modes can be trusted. It does not depend on the "
        "model.", "none",
    ),
    _of_images(
        "class_tv", "class shares, TV", f"Total variation distance, 1/2 sum |p - q|, of the shares of the {_CLASSES}. "
        "Large where a class is missing or too frequent.", "lower",
    ),
    _of_images(
        "class_tv_floor", "class shares, TV, floor", "The distance that two samples of these numbers of images have on "
        "average where the shares are equal.", "none",
    ),
    _of_images(
        "mode_purity", "purity of modes", "Share of generated images that are of the most frequent class of the "
        "prior's mode that they are drawn from; classes as the data set's classifier tells them. 1: every mode makes "
        "one class.", "higher",
    ),
    _of_images(
        "mode_purity_floor", "purity of modes, floor", "Purity of modes of the same images with their classes "
        "shuffled: what modes score that have nothing to do with classes.", "none",
    ),
    _of_images(
        "psnr", "PSNR", "Mean over test images of the peak signal-to-noise ratio, -10 log10 of the mean squared error "
        "between image and reconstruction g(mu(x)), which is clipped to [0, 1]; an image counts as at most 54.15, the "
        "error of half an 8-bit level.", "higher", "dB", "textbook form",
    ),
    _of_images(
        "ssim", "SSIM", "Mean over test images of the structural similarity of image and reconstruction g(mu(x)): "
        "window of 11 x 11 pixels, Gaussian of 1.5, where it fits, averaged over the channels. 1: equal.", "higher",
        "", "Wang et al. 2004",
    ),
    _of_images(
        "lpips_rec", "LPIPS (rec)", "Mean over test images of LPIPS between image and reconstruction g(mu(x)), which "
        "is clipped to [0, 1]: AlexNet, version 0.1, linear heads; photographs in colour, and rendered images like "
        "them. 0: equal.", "lower", "", "Zhang et al. 2018",
    ),
)  # fmt: skip
