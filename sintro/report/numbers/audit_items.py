"""The list of published conventions that a reader must be able to switch (docs/science.md, section 8)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditItem:
    """One published convention. ``pairs`` are metrics in the published and the other form, compared rank by rank."""

    name: str
    title: str
    published: str
    standard: str
    pairs: tuple[tuple[str, str], ...] = ()


AUDIT_ITEMS = (
    AuditItem(
        "A1",
        "Mode of the feature network",
        "in train mode: batch-norm statistics of each evaluation batch",
        "in eval mode; the generator stays in train mode here, so this switch alone is seen",
        (("fid_published", "fid_eval_train"), ("cfid_published", "cfid_eval_train")),
    ),
    AuditItem(
        "A2",
        "Mode of the generator",
        "in train mode too",
        "in eval mode, after its statistics were refreshed; the feature network stays in train mode here",
        (("fid_published", "fid_train_eval"), ("cfid_published", "cfid_train_eval")),
    ),
    AuditItem(
        "A3",
        "Which checkpoint",
        "the one with the lowest published FID of six",
        "the last",
        (("fid_published", "fid_last_published"), ("cfid_published", "cfid_last_published")),
    ),
    AuditItem(
        "A4",
        "Which weight r",
        "the r with the best value of the reported metric",
        "an r fixed before",
    ),
    AuditItem(
        "A5",
        "Form of KL and JSD",
        "sums scaled by the bins, JSD in the reverse direction, floor 1e-14",
        "nats of the histograms, the textbook direction",
        (("kl_published", "kl"), ("jsd_published", "jsd"), ("gnelbo_published", "gnelbo")),
    ),
    AuditItem(
        "A6",
        "Logits at the conversion",
        "set to the weights, so the softmax flattens them",
        "set to the weights' logarithms, so the weights are kept",
    ),
    AuditItem(
        "A7",
        "Normalising the responsibility entropy",
        "divided by log K only when log K > 1",
        "divided by log K always; differs for K = 2 only, which no table has",
    ),
    AuditItem(
        "A8",
        "Neighbours",
        "the point itself counts as its own neighbour: k = 4 for precision, 5 for recall, so 3 and 4 other points",
        "it does not, k = 3 for both",
        (("precision_published", "precision"), ("recall_published", "recall")),
    ),
    AuditItem(
        "A9",
        "What stands behind ±",
        "population sd / √n (ddof 0)",
        "95% t interval of the mean",
    ),
    AuditItem(
        "A10",
        "What the probes see",
        "z sampled once per image, linear SVM",
        "the posterior mean, logistic regression run to its optimum",
        (("svc_many", "linear_probe"),),
    ),
    AuditItem(
        "A11",
        "β_neg on MNIST",
        "128 in the released configuration",
        "256 in the paper's text",
    ),
    AuditItem(
        "A12",
        "Choosing hyper-parameters",
        "on the reported metric and a reported seed",
        "on data and seeds that are not reported",
    ),
    AuditItem(
        "A22",
        "Adam's state when the introspective phase begins",
        "carried over from the warm-up, whose losses lack the factor s = 1/D: its second moments are 1/s² too large "
        "and hold the steps down until they decay",
        "restarted, as the conversion of a VampPrior does anyway a little before",
    ),
)
