"""Definitions of the metrics of image translation; computed by ``translation`` and ``representation``."""

from sintro.metrics.metric import PERCEPTUAL, SECTION, Direction, Metric

TRANSLATION = "this suite's choice: no paper measured a translation against the truth"
OF_PAIRS = "2,000 pairs of images that differ in class and content, codes are posterior means"
_SEEN = {"": ("", "of classes that no cell was trained on"), "_seen": (" (seen)", "of classes of the training split")}


CODES, CONTENTS = "two codes", "two codes and content labels"  # what the metrics need
PERCEPTUAL_CONTENTS = f"{CONTENTS}, and {PERCEPTUAL}"
OTHERS = {  # and what some of them need beside
    "transfer_lpips": PERCEPTUAL_CONTENTS,
    "retrieval_trait": "two codes, and classes with a coarser property",
    "kl_class": "two codes with a prior",
    "kl_content": "two codes with a prior",
    "fid_transfer": "two codes, and Inception for photographs",
    "cfid_transfer": "two codes, and no Inception",
}


def _metric(name: str, label: str, definition: str, direction: Direction, unit: str = "") -> Metric:
    stem = name.removesuffix("_seen")
    of_classes = "_class" in stem
    return Metric(
        name,
        label,
        definition,
        unit,
        direction,
        "standard",
        f"{TRANSLATION}; {SECTION}",
        datasets=("images",),
        needs=OTHERS.get(stem, CODES if of_classes else CONTENTS),
    )


_TRANSFER: tuple[tuple[str, str, str, Direction], ...] = (
    (
        "transfer_mse",
        "transfer error",
        "Mean squared error per pixel between the translation and the true image of that class and content",
        "lower",
    ),
    (
        "transfer_lpips",
        "transfer LPIPS",
        "Mean LPIPS (AlexNet, version 0.1, linear heads) between the translation, clipped to [0, 1], and the true "
        "image of that class and content; photographs in colour, and rendered images like them",
        "lower",
    ),
    (
        "transfer_ceiling",
        "ceiling of transfer",
        "Mean squared error per pixel of the same model's reconstruction of the true image: a translation is hardly "
        "better",
        "none",
    ),
    (
        "transfer_relative",
        "transfer error, relative",
        "(error - ceiling) / (copy - ceiling), with the smaller error of the two copies: 0 is as good as a "
        "reconstruction of the truth, 1 as bad as handing back one of the two images",
        "lower",
    ),
    (
        "retrieval_class",
        "right class",
        "Share of translations whose nearest real image, of all classes and contents, is of the right class; 1 for "
        "real images",
        "higher",
    ),
    ("retrieval_content", "right content", "The same for the content", "higher"),
    ("retrieval_trait", "right trait", "The same for a coarser property of the class, of solids the colour", "higher"),
    (
        "kept_class",
        "kept the class",
        "Share of translations whose nearest real image is of the class of the image that gave the content: a failure",
        "lower",
    ),
    (
        "kept_content",
        "kept the content",
        "Share of translations whose nearest real image has the content of the image that gave the class: a failure",
        "lower",
    ),
)


def _transfer() -> tuple[Metric, ...]:
    """Define the metrics of translations, of unseen and of seen classes."""
    return tuple(
        _metric(f"{name}{suffix}", f"{label}{addition}", f"{meaning}; {OF_PAIRS}, {which}.", direction)
        for suffix, (addition, which) in _SEEN.items()
        for name, label, meaning, direction in _TRANSFER
    )


def _leakage() -> tuple[Metric, ...]:
    """Define what classifiers read off the codes: what they should not (leakage) and what they should (controls)."""
    found = []
    for suffix, (addition, how) in {
        "": ("", "a network with 128 hidden units, of a fixed seed"),
        "_linear": (" (linear)", "multinomial logistic regression; only where both find nothing, nothing is there"),
    }.items():
        for factor, own, other in (("class", "class", "content"), ("content", "content", "class")):
            read = (
                f"Accuracy of the {factor} read off the {{}} code by {how}, on a fifth of at most 10,000 images of the "
                "training split, also where a cell trains on fewer; "
            )
            chance = f"chance is one over the number of {'contents' if factor == 'content' else 'seen classes'}"
            found.append(
                _metric(
                    f"leakage_{factor}{suffix}",
                    f"{factor} from {other} code{addition}",
                    f"{read.format(other)}it should not be there; {chance}.",
                    "lower",
                )
            )
            found.append(
                _metric(
                    f"control_{factor}{suffix}",
                    f"{factor} from {own} code{addition}",
                    f"{read.format(own)}the positive control: it should be there; {chance}.",
                    "higher",
                )
            )
    return tuple(found)


OF_CODES = (
    _metric("kl_class", "KL of the class code", "Mean over held-out images of KL(q(c|x) || p(c)).", "none", "nats"),
    _metric(
        "kl_content", "KL of the content code", "Mean over held-out images of KL(q(t|x) || N(0, I)).", "none", "nats"
    ),
    *(
        _metric(
            f"{name}_transfer",
            f"{label} (translations)",
            f"Frechet distance between features of translations of seen classes and of training images; {OF_PAIRS}.",
            "lower",
        )
        for name, label in (("fid", "FID"), ("cfid", "cFID"))
    ),
)
DEFINITIONS = (*_transfer(), *_leakage(), *OF_CODES)
