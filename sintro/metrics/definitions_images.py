"""Definitions of the metrics of images alone; computed by ``fid``, ``manifold``, ``representation`` and others."""

from sintro.metrics.metric import LABELS, PUBLISHED, SECTION, Direction, Form, Metric

# The batch-norm modes of a Frechet distance: suffix of its name -> addition to its label, meaning.
_MODES = {
    "_published": (
        " (published)",
        "feature network and generator in train mode: batch-norm statistics of each evaluation batch",
    ),
    "": ("", "feature network and generator in eval mode, the generator's batch-norm statistics refreshed before"),
    "_train_eval": (" (train, eval)", "feature network in train mode as published, generator in eval mode (audit A2)"),
    "_eval_train": (" (eval, train)", "feature network in eval mode, generator in train mode as published (audit A1)"),
}
_RECONSTRUCTED = {
    "_published": "reconstructions g(z), z sampled from q(z|x), of images in an order of their own",
    "": "reconstructions g(mu(x)) of the reference's images",
}


# What the metrics of a Frechet distance's features need: an evaluation measures one kind of them.
FEATURES = {
    "fid": "photographs, and Inception's weights",
    "cfid": "images that are no photographs, or no weights of Inception",
}
PHOTOGRAPHS = "photographs"


def _distances() -> tuple[Metric, ...]:
    """Define FID and cfid: of samples in all four combinations of modes, of reconstructions in both protocols."""
    found = []
    for name in ("fid", "cfid"):
        found += [_distance(name, mode) for mode in _MODES]
        found += [_distance(name, mode, reconstructed) for mode, reconstructed in _RECONSTRUCTED.items()]
    return tuple(found)


def _distance(name: str, mode: str, reconstructed: str = "") -> Metric:
    """Define one Frechet distance, of generated images or of the reconstructions that ``reconstructed`` describes."""
    label, network, source = {
        "fid": ("FID", "pytorch-fid's Inception", f"Heusel et al. 2017; {SECTION}"),
        "cfid": ("cFID", "a small classifier trained on the data set (not comparable with any FID)", SECTION),
    }[name]
    how, meaning = _MODES[mode]
    published = mode == "_published"
    form: Form = "published" if published else "mixed" if mode else "standard"
    return Metric(
        name + ("_rec" if reconstructed else "") + mode,
        label + (" (rec)" if reconstructed else "") + how,
        f"Frechet distance between the features of {reconstructed or 'generated images'} and of training images; "
        f"features of {network}; {meaning}.",
        "",
        "lower",
        form,
        PUBLISHED if published and name == "fid" else source,
        datasets=("images",),
        needs=FEATURES[name],
        version=2 if reconstructed and published else 1,
    )


_NETWORKS = {
    "fid": ("FID", "KID", "pytorch-fid's Inception in eval mode", "Heusel et al. 2017"),
    "cfid": ("cFID", "cKID", "the classifier of cfid in eval mode", "ours"),
}
KERNELS = {"fid": "kid", "cfid": "ckid"}  # the Frechet distance in some features -> the kernel distance in them


def _others(name: str) -> tuple[Metric, ...]:
    """Define the other metrics in a Frechet distance's features: kernel distance, test split, floors."""
    frechet, kernel, network, source = _NETWORKS[name]
    needed = FEATURES[name]
    kid = KERNELS[name]
    cubic = f"Squared maximum mean discrepancy under the kernel (x.y / F + 1)^3, features of {network}, unbiased"
    subsets = "mean over 100 pairs of subsets of min(1,000, N/2) images"
    halves = "one half of the training images that are the reference against the other, so half as many images: "

    def metric(
        name: str, label: str, definition: str, direction: Direction, form: Form = "standard", citing: str = source
    ) -> Metric:
        cited = "Binkowski et al. 2018" if "kid" in name else citing
        return Metric(
            name, label, definition, "", direction, form, f"{cited}; {SECTION}", datasets=("images",), needs=needed
        )

    return (
        metric(
            kid, kernel, f"{cubic}: 0 on average for a perfect model, and sometimes negative; {subsets}.", "lower"
        ),
        metric(
            f"{kid}_sd", f"{kernel}, sd", f"Standard deviation of {kernel} over its 100 pairs of subsets; they share "
            "images, so it is no error of the mean.", "none",
        ),
        metric(
            f"{name}_test", f"{frechet} (test)", f"{frechet} with the test split in place of the training images: as "
            "many as there are, at most as many as are generated. Not comparable with the other reference's.", "lower",
        ),
        metric(
            f"{kid}_test", f"{kernel} (test)", f"{kernel} with the test split in place of the training images. Above "
            f"{kernel} where the model copies training images.", "lower",
        ),
        metric(
            f"{name}_infinity", f"{frechet}, infinite", f"{frechet} of infinitely many generated images: the intercept "
            "of a line through 15 sizes from 5,000 images to all, least squares in 1 / size. Without the bias that "
            "depends on the model; that of the reference stays. It may be negative. Not measured below 10,000 images.",
            "lower", citing="Chong & Forsyth 2020",
        ),
        metric(
            f"{name}_infinity_se", f"{frechet}, infinite, SE", f"Standard error of {frechet}, infinite, from the "
            "scatter around its line: not over other draws of the images, nor over training runs.", "none",
            citing="Chong & Forsyth 2020",
        ),
        metric(
            f"{name}_rec_test", f"{frechet} (rec, test)", f"{frechet} between reconstructions g(mu(x)) of test images "
            "and those images themselves. The model did not train on them.", "lower",
        ),
        metric(
            f"{name}_floor", f"{frechet}, floor", f"{frechet} of {halves}its bias is about twice as large.", "none"
        ),
        metric(
            f"{name}_floor_published", f"{frechet}, floor (published)", f"The same as {frechet}, floor, with the "
            "feature network in train mode.", "none", "published",
        ),
        metric(f"{kid}_floor", f"{kernel}, floor", f"{kernel} of {halves}it has no bias.", "none"),
    )  # fmt: skip


def _optimism(name: str) -> Metric:
    """Define by how much a checkpoint was favoured because it was selected."""
    frechet, source = _NETWORKS[name][0], f"ours; {SECTION}, and section 8 (A3)"
    return Metric(
        optimism(name),
        f"{frechet}, optimism of selection",
        f"{frechet} (published) of the selected checkpoint for images from fresh latents, minus the value by which it "
        "was selected among several. Above 0 on average where the selection favours lucky samples: the published value "
        "is too low by as much. A single cell's has measurement noise. Not measured where there was nothing to select.",
        "",
        "none",
        "mixed",
        source,
        datasets=("images",),
        needs=FEATURES[name],
    )


def optimism(name: str) -> str:
    """Return the name of the optimism of selection by a Frechet distance, ``fid`` or ``cfid``."""
    return f"{name}_optimism"


def _dinov2() -> tuple[Metric, ...]:
    """Define the distances and manifolds in DINOv2's features, of the end and of the selected snapshot in eval mode."""
    features = (
        "features of DINOv2 ViT-L/14, class token, 224 x 224 pixels by PIL's bicubic filter; photographs in colour"
    )
    of_samples = f"of generated and training images; {features}"
    halves = "of one half of the training images that are the reference against the other"
    kinds: tuple[tuple[str, str, str, Direction], ...] = (
        ("fd_dinov2", "FD-DINOv2", f"Frechet distance {of_samples}. Not comparable with FID.", "lower"),
        ("fd_dinov2_floor", "FD-DINOv2, floor", f"FD-DINOv2 {halves}: its bias is about twice as large.", "none"),
        ("kd_dinov2", "KD-DINOv2", f"Kernel distance, computed as KID, {of_samples}.", "lower"),
        ("kd_dinov2_sd", "KD-DINOv2, sd", "Standard deviation of KD-DINOv2 over its 100 pairs of subsets.", "none"),
        ("kd_dinov2_floor", "KD-DINOv2, floor", f"KD-DINOv2 {halves}: it has no bias.", "none"),
        ("precision_dinov2", "precision (DINOv2)", f"Precision, k = 3, {of_samples}.", "higher"),
        ("recall_dinov2", "recall (DINOv2)", f"Recall, k = 3, {of_samples}.", "higher"),
        ("density_dinov2", "density (DINOv2)", f"Density, k = 5, {of_samples}.", "higher"),
        ("coverage_dinov2", "coverage (DINOv2)", f"Coverage, k = 5, {of_samples}.", "higher"),
    )
    source = f"Stein et al. 2023; {SECTION}"
    return tuple(
        Metric(name, label, definition, "", direction, "standard", source, datasets=("images",), needs=PHOTOGRAPHS)
        for name, label, definition, direction in kinds
    )


DINOV2 = tuple(metric.name for metric in _dinov2())


CHECKS_WITH_FLOORS = ("authenticity", "class_tv", "mode_purity")

# A metric -> the metric that is its floor.
FLOORS = {
    metric: floor
    for name, kid in KERNELS.items()
    for metric, floor in (
        (name, f"{name}_floor"),
        (f"{name}_published", f"{name}_floor_published"),
        (kid, f"{kid}_floor"),
    )
} | {name: f"{name}_floor" for name in (*CHECKS_WITH_FLOORS, "fd_dinov2", "kd_dinov2")}


def _manifolds() -> tuple[Metric, ...]:
    """Define precision and recall in both counting conventions."""
    kinds = {
        "precision": ("share of generated images inside the k-NN manifold of the training images", 4),
        "recall": ("share of training images inside the k-NN manifold of the generated images", 5),
    }
    return tuple(
        metric
        for name, (definition, k) in kinds.items()
        for metric in (
            Metric(
                f"{name}_published",
                f"{name} (published)",
                f"The {definition}; k = {k} where a point counts as its own neighbour, so {k - 1} others; features in "
                "train mode.",
                "share",
                "higher",
                "published",
                PUBLISHED,
                datasets=("images",),
                version=2,
            ),
            Metric(
                name,
                name,
                f"The {definition}; k = 3, a point is not its own neighbour; features in eval mode.",
                "share",
                "higher",
                "standard",
                f"Kynkaanniemi et al. 2019; {SECTION}",
                datasets=("images",),
            ),
        )
    )


def _probe(name: str, label: str, definition: str, form: Form) -> Metric:
    source = PUBLISHED if form == "published" else SECTION
    return Metric(
        name, label, definition, "%", "higher", form, source, display_scale=100.0, datasets=("images",), needs=LABELS
    )


_SAMPLED = "on z sampled once per image from q(z|x), standardised"

_REPRESENTATION = (
    _probe(
        "svc_few",
        "SVM (few)",
        f"Test accuracy of a linear SVC, C = 0.025, at most 2,000 steps, {_SAMPLED}.",
        "published",
    ),
    _probe(
        "svc_many",
        "SVM (many)",
        f"Test accuracy of a linear SVC, C = 0.025, at most 10,000 steps, {_SAMPLED}.",
        "published",
    ),
    _probe("knn_few", "k-NN (few)", f"Test accuracy of 5 nearest neighbours {_SAMPLED}.", "published"),
    _probe("knn_many", "k-NN (many)", f"Test accuracy of 100 nearest neighbours {_SAMPLED}.", "published"),
    _probe(
        "linear_probe",
        "linear probe",
        "Test accuracy of multinomial logistic regression, run to convergence, on the posterior mean mu(x).",
        "standard",
    ),
    Metric(
        "mse",
        "MSE",
        "Mean over test images and their coordinates of the squared error between the image and its reconstruction.",
        "squared units",
        "lower",
        "both",
        SECTION,
        datasets=("images",),
    ),
    Metric(
        "drift",
        "drift",
        "Mean over test images of KL(q(z|g(mu(x))) || q(z|x)): how far a reconstruction is encoded from its image.",
        "nats",
        "lower",
        "both",
        PUBLISHED,
        datasets=("images",),
    ),
)

IMAGES = (
    *_distances(),
    *_others("fid"),
    *_others("cfid"),
    *map(_optimism, KERNELS),
    *_dinov2(),
    *_manifolds(),
    *_REPRESENTATION,
)
