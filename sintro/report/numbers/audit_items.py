"""The list of published conventions that a reader must be able to switch (docs/science.md, section 8)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditItem:
    """One published convention. ``pairs`` are metrics in the published and the other form, compared rank by rank.

    ``is_fact``: it is of released code that no cell here runs, or that none can switch, so there is nothing to compare.
    """

    name: str
    title: str
    published: str
    standard: str
    pairs: tuple[tuple[str, str], ...] = ()
    is_fact: bool = False


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
    AuditItem("A4", "Which weight r", "the r with the best value of the reported metric", "an r fixed before"),
    AuditItem(
        "A5",
        "Form of KL and JSD",
        "sums scaled by the bins, JSD in the reverse direction, floor 1e-14",
        "nats of the histograms, the textbook direction",
        (("kl_published", "kl"), ("jsd_published", "jsd")),
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
        "it does not, k = 3 for both: nothing changes for precision. The two recalls differ in the mode of the feature "
        "network too (A1)",
        (("recall_published", "recall"),),
    ),
    AuditItem("A9", "What stands behind ±", "population sd / √n (ddof 0)", "95% t interval of the mean"),
    AuditItem(
        "A10",
        "What the probes see",
        "z sampled once per image, linear SVM",
        "the posterior mean, logistic regression run to its optimum",
        (("svc_many", "linear_probe"),),
    ),
    AuditItem("A11", "β_neg on MNIST", "128 in the released configuration", "256 in the paper's text"),
    AuditItem(
        "A12",
        "Choosing hyper-parameters",
        "on the reported metric and a reported seed",
        "on data and seeds that are not reported",
    ),
    AuditItem(
        "A13",
        "Betas of the residual networks at 256",
        "rec 1, KL 0.5, negative 1024 in the README, and 0.5, 1, 1024 in the program's own text",
        "the README's, for `soft-introvae`; `soft-introvae-rec0.5-kl1-neg1024` has the program's",
    ),
    AuditItem(
        "A14",
        "Betas of the style-based networks",
        "reconstruction 0.1 for CelebA-HQ and 0.05 for FFHQ in the README; the configuration files exchange the two",
        "one of them: nobody says which run had which",
        is_fact=True,
    ),
    AuditItem(
        "A15",
        "How images become square at 128 and 256",
        "whatever lies in img_align_celeba is squeezed without a crop, so originals of 178 x 218 become 22% too wide; "
        "the README says CelebA-HQ",
        "`sintro prepare` crops, and the manifest says how; celeba-128 takes 128 x 128 pixels around the face",
        is_fact=True,
    ),
    AuditItem(
        "A16",
        "Training and test images at 128 and 256",
        "the first N files as the file system lists them, unsorted",
        "by sorted names or by CelebA's own list; the manifest names the rule and every file",
        is_fact=True,
    ),
    AuditItem(
        "A17",
        "FID of the style-based networks",
        "Inception in eval mode (A1 has it otherwise), averaged weights, 50,000 samples against mirrored training "
        "images, every 10 epochs; the two quoted numbers, 18.63 and 17.55, are the lowest",
        "FID at the end of training; the style-based networks are not in this suite",
        is_fact=True,
    ),
    AuditItem(
        "A18",
        "The negative beta while style-based networks grow",
        "comes one epoch late at each growth: it is read before the level advances",
        "changes with the level",
        is_fact=True,
    ),
    AuditItem(
        "A19",
        "The unit of squared errors of the style-based networks",
        "images in [-1, 1], where a sum of squares is 4 times that in [0, 1]: a reconstruction beta of 0.05 there is "
        "0.2 in the units of all other networks",
        "images in [0, 1]",
        is_fact=True,
    ),
    AuditItem(
        "A20",
        "The ends of the style-based encoder and decoder",
        "a leaky ReLU ends the encoder, so negative means and log-variances are scaled by 0.2; the decoder sees z "
        "divided by its root mean square, so the length of z is lost",
        "linear ends, as the residual networks have",
        is_fact=True,
    ),
    AuditItem(
        "A22",
        "Adam's state when the introspective phase begins",
        "carried over from the warm-up, whose losses lack the factor s = 1/D: its second moments are 1/s² too large "
        "and hold the steps down until they decay",
        "restarted, as the conversion of a VampPrior does anyway a little before",
    ),
)
