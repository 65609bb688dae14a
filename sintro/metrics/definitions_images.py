"""Definitions of the metrics of images alone; computed by ``fid``, ``manifold``, ``representation`` and others."""

from sintro.metrics.metric import PUBLISHED, SECTION, Form, Metric

# The batch-norm modes of a Frechet distance: what stands behind its name -> what is added to its label, what it means.
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


def _distances() -> tuple[Metric, ...]:
    """FID and its stand-in: of samples in all four combinations of modes, of reconstructions in both protocols."""
    found = []
    for name in ("fid", "cfid"):
        found += [_distance(name, mode) for mode in _MODES]
        found += [_distance(name, mode, reconstructed) for mode, reconstructed in _RECONSTRUCTED.items()]
    return tuple(found)


def _distance(name: str, mode: str, reconstructed: str = "") -> Metric:
    """One Frechet distance, of generated images or of what ``reconstructed`` says."""
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
        version=2 if reconstructed and published else 1,
    )


def _manifolds() -> tuple[Metric, ...]:
    """Precision and recall in both counting conventions."""
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
    return Metric(name, label, definition, "%", "higher", form, source, display_scale=100.0, datasets=("images",))


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

IMAGES = (*_distances(), *_manifolds(), *_REPRESENTATION)
