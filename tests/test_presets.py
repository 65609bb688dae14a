"""Every published number of docs/science.md, section 4, written here a second time, and how a schedule is shortened."""

import itertools
import math

import pytest

from sintro import SintroError
from sintro.cells import origins, presets, table
from sintro.cells.cell import Cell
from sintro.cells.components import PROTOCOLS, FactorDataset, datasets
from sintro.cells.components.dataset import Dataset
from sintro.cells.components.registry import current
from sintro.cells.settings import REVISIONS, Settings
from sintro.data.folders import RELEASED

SOFT_BETAS_2D = {
    "8gaussians": (0.2, 0.3, 0.9),
    "spirals": (0.2, 0.5, 1.0),
    "checkerboard": (0.2, 0.1, 0.2),
    "rings": (0.2, 0.2, 1.0),
}
VAE_BETAS_2D = {"8gaussians": (0.8, 0.05), "spirals": (1.0, 0.05), "checkerboard": (0.8, 0.1), "rings": (0.8, 0.05)}
IMAGE_SHAPES = {  # batch, latent size, channels, event, training images
    "digits": (128, 16, (32, 64), (1, 16, 16), 1_500),
    "mnist": (128, 32, (64, 128), (1, 28, 28), 60_000),
    "fmnist": (128, 32, (64, 128), (1, 28, 28), 60_000),
    "cifar10": (32, 128, (64, 128, 256), (3, 32, 32), 50_000),
    "svhn": (32, 128, (64, 128, 256), (3, 32, 32), 73_257),
}


def cell(dataset: str, objective: str = "soft-introvae", prior: str = "normal", regularizers: str = "none") -> Cell:
    return Cell(study="s", dataset=dataset, objective=objective, prior=prior, regularizers=regularizers, seed=4)


DATASETS, DENSITIES = tuple(datasets()), tuple(datasets("2d"))
# The settings of the others are tested in test_folders and in test_two_codes.
IMAGES = tuple(name for name, one in datasets("images").items() if name not in RELEASED and not one.has_factors)


def every_kind_of_cell() -> list[Cell]:
    vae = [("vae", prior, "none") for prior in ("normal", "vamp10", "vamp10-lc")]
    fixed = [("soft-introvae", prior, "none") for prior in ("normal", "mog10-fixed", "mog10-fixed-lc")]
    learned = [
        ("soft-introvae", f"mog10-learned{suffix}", regularizers)
        for suffix in ("", "-lc", "-encoder", "-lc-encoder")
        for regularizers in ("none", "clip", "resp10", "clip-resp10")
    ]
    introvae = [("introvae", "normal", "none")]
    everywhere = [cell(dataset, *axes) for dataset in DATASETS for axes in (*vae, *fixed, *learned, *introvae)]
    return everywhere + [cell(dataset, "soft-introvae-bootstrap", "normal", "none") for dataset in IMAGES]


@pytest.mark.parametrize("dataset", [name for name, one in datasets().items() if not one.has_factors])
@pytest.mark.parametrize("objective", ["vae", "soft-introvae"])
def test_what_all_runs_share(dataset: str, objective: str) -> None:
    settings = presets.published(cell(dataset, objective))
    assert (settings.alpha, settings.gamma, settings.gamma_r) == (2.0, 1.0, 1e-8)
    assert settings.samples == 100
    assert (settings.learning_rate, settings.learning_rate_factor) == (2e-4, 0.1)
    assert (settings.adam_beta1, settings.adam_beta2) == (0.9, 0.999)
    assert settings.scale == 1 / math.prod(settings.event)
    assert settings.responsibility_weight == 0
    assert settings.seed == 4


@pytest.mark.parametrize("dataset", DENSITIES)
def test_densities(dataset: str) -> None:
    settings = presets.published(cell(dataset, prior="mog64-learned-lc", regularizers="clip"))
    assert (settings.iterations, settings.warmup, settings.conversion) == (30_000, 2_000, 1_900)
    assert settings.milestones == (10_000, 15_000)
    assert settings.snapshots == ()
    assert settings.epochs is None
    assert (settings.batch_size, settings.latent_size, settings.scale) == (512, 2, 0.5)
    assert (settings.network, settings.channels, settings.event) == ("mlp", (), (2,))
    assert (settings.evaluation_points, settings.evaluation_bins, settings.evaluation_grid) == (5_000, 100, 1_024)
    assert settings.evaluation_images == 0
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == SOFT_BETAS_2D[dataset]

    settings = presets.published(cell(dataset, "vae"))
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == (*VAE_BETAS_2D[dataset], None)
    assert settings.iterations == settings.warmup == 30_000
    assert settings.conversion is None


@pytest.mark.parametrize("dataset", IMAGES)
def test_images(dataset: str) -> None:
    batch, latent, channels, event, images = IMAGE_SHAPES[dataset]
    settings = presets.published(cell(dataset, prior="mog100-fixed"))
    assert (settings.batch_size, settings.latent_size, settings.channels) == (batch, latent, channels)
    assert (settings.network, settings.event) == ("residual", event)
    epoch = math.ceil(images / batch)
    assert (settings.epochs, settings.iterations) == (220, 220 * epoch)
    assert (settings.warmup, settings.conversion) == (20 * epoch, 15 * epoch)
    assert settings.milestones == (350 * epoch,), "never reached"
    assert settings.snapshots == tuple(number * epoch for number in (0, 80, 120, 160, 200, 219))
    assert settings.evaluation_images == (1_500 if dataset == "digits" else 50_000)
    assert settings.evaluation_points == settings.evaluation_grid == settings.evaluation_bins == 0
    assert (settings.beta_rec, settings.beta_kl) == (10 if dataset == "digits" else 1, 1)
    assert settings.beta_neg == (128 if dataset == "mnist" else 256)

    settings = presets.published(cell(dataset, "vae"))
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == (10 if dataset == "digits" else 1, 1, None)


def test_the_path_says_what_the_prior_is() -> None:
    settings = presets.published(cell("rings", prior="mog64-learned-lc-encoder", regularizers="clip-resp10"))
    assert (settings.prior, settings.components) == ("mixture", 64)
    assert settings.learned
    assert settings.contributions
    assert settings.clip
    assert settings.cooperation == "encoder"
    assert settings.logits_at_conversion == "weights"
    assert settings.responsibility_weight == 10

    settings = presets.published(cell("rings", prior="mog64-fixed"))
    assert not settings.learned
    assert settings.cooperation is None
    assert settings.logits_at_conversion is None, "nothing to set without learnable contributions"
    assert presets.published(cell("rings", "vae", "vamp64")).conversion is None


def test_betas_in_the_path_win() -> None:
    settings = presets.published(cell("rings", "soft-introvae-rec0.25-kl0.5-neg3"))
    assert (settings.objective, settings.beta_rec, settings.beta_kl, settings.beta_neg) == (
        "soft-introvae",
        0.25,
        0.5,
        3,
    )


def test_every_field_has_a_source_and_no_row_is_without_effect(monkeypatch) -> None:
    large = type("Large", (FactorDataset,), {"name": "large", "event": (3, 64, 64), "size": 640, "title": "Large"})
    monkeypatch.setitem(current().known[Dataset], "large", large())
    sources = {one.row.source for one in table.TABLE} | {row.source for one in datasets().values() for row in one.rows}
    used = set()
    kinds = [("pl", one) for one in every_kind_of_cell()]
    kinds += [("pl", cell("large", objective)) for objective in ("vae", "soft-introvae", "lord")]
    kinds.append(("pl", cell("solids", "lord")))
    kinds += [("si", one) for one in every_kind_of_cell() if one.prior == "normal"]
    for protocol, one in kinds:
        settings = presets.published(one, protocol)
        told = origins.sources(settings, protocol)
        assert list(told) == list(Settings.model_fields)
        assert all(told.values())
        assert not any(text.startswith("not the published") for text in told.values())
        used |= {source for source in sources if any(source in text for text in told.values())}
    assert used == sources - {table.BORROWED}


def test_a_value_of_our_own_is_told_apart() -> None:
    settings = presets.resolve(cell("rings"), values={"batch_size": 64})
    assert origins.sources(settings)["batch_size"].startswith("not the published 512")


def test_the_digest_changes_with_every_field_and_with_nothing_else() -> None:
    settings = presets.published(cell("rings", prior="mog64-learned-lc", regularizers="clip"))
    assert len(settings.digest) == 16
    assert Settings.model_validate(settings.model_dump(mode="json")).digest == settings.digest
    other = {
        **{name: value + 1 for name, value in settings if isinstance(value, int | float) and type(value) is not bool},
        **{name: not value for name, value in settings if type(value) is bool},
        **{name: (*value, 1) for name, value in settings if isinstance(value, tuple)},
        **{name: f"{value}x" for name, value in settings if isinstance(value, str)},
        "epochs": 1.0,
        "precision": "bfloat16",
        "margin": 1.0,
        "kl_of_normal": "sampled",
        "fakes": "reused",
        "adam_at_introspection": "restarted",
        "training_images": 100,
        "mirror": True,
        "reconstruction": "vgg16",
        "class_latent_size": 8,
        "kl_weight_class": 0.5,
        "kl_weight_content": 2.0,
        "revision": 2,
        "extension_sha256": "0" * 64,
    }
    assert other.keys() == Settings.model_fields.keys()
    digests = {settings.model_copy(update={name: value}).digest for name, value in other.items()}
    assert len(digests | {settings.digest}) == len(other) + 1


UNCHANGED = {  # digests that results made before the settings below existed carry
    ("pl", "rings", "soft-introvae", "mog64-learned", "clip"): "63a0e57dcb5ed767",
    ("pl", "rings", "vae", "vamp64-lc", "none"): "024b638433ed829b",
    ("pl", "rings", "introvae", "normal", "none"): "fde96ee3cefcc6b9",
    ("pl", "8gaussians", "soft-introvae", "mog64-fixed-lc", "none"): "49f3d8211a444522",
    ("pl", "cifar10", "introvae", "normal", "none"): "e95294fdb7e93209",
    ("si", "rings", "vae", "normal", "none"): "cbc8c20ef2af3618",
    ("si", "digits", "vae", "normal", "none"): "000b8e4eeed11302",
}
CHANGED = {
    ("pl", "rings", "vae", "normal", "none"): ("cbc8c20ef2af3618", {"kl_of_normal": "sampled"}),
    ("pl", "rings", "soft-introvae", "normal", "none"): ("50f883f8ed06eb03", {"kl_of_normal": "sampled"}),
    ("si", "rings", "soft-introvae", "normal", "none"): ("50f883f8ed06eb03", {"fakes": "reused"}),
    ("pl", "rings", "soft-introvae", "mog1-fixed", "none"): ("6c5109b20618d667", {"kl_of_normal": "sampled"}),
    ("pl", "rings", "soft-introvae", "mog64-learned-encoder", "clip"): ("a7ca322d9f1ab790", {"revision": 2}),
    ("pl", "cifar10", "soft-introvae", "normal", "none"): ("267e65b7bdf00fc0", {"kl_of_normal": "sampled"}),
    ("pl", "mnist", "soft-introvae", "mog10-learned", "clip-resp10"): ("d2d04aab16d8b2c4", {"revision": 2}),
    ("pl", "digits", "vae", "vamp10", "none"): ("37e6c115f99db253", {"revision": 2}),
}


@pytest.mark.parametrize(("kind", "digest"), UNCHANGED.items())
def test_a_cell_whose_behaviour_is_unchanged_keeps_its_digest(kind, digest) -> None:
    assert presets.published(cell(*kind[1:]), kind[0]).digest == digest


@pytest.mark.parametrize(("kind", "before"), CHANGED.items())
def test_a_cell_whose_behaviour_changed_has_another_digest_by_what_changed_it(kind, before) -> None:
    digest, changes = before
    settings = presets.published(cell(*kind[1:]), kind[0])
    assert settings.digest != digest
    assert settings.model_copy(update=dict.fromkeys(changes)).digest == digest
    assert {name: getattr(settings, name) for name in changes} == changes


def test_the_protocols_differ_in_estimator_fakes_and_the_schedule_of_images() -> None:
    def differing(*kind: str) -> set[str]:
        pl, si = (presets.published(cell(*kind), protocol).model_dump() for protocol in PROTOCOLS)
        return {name for name in pl if pl[name] != si[name]}

    assert differing("rings", "soft-introvae") == {"kl_of_normal", "fakes"}
    assert differing("digits", "soft-introvae-bootstrap") == {"kl_of_normal", "fakes"}
    assert differing("rings", "vae") == {"kl_of_normal"}
    assert differing("rings", "introvae") == set()
    assert differing("rings", "soft-introvae", "mog64-fixed") == set(), "N(0, I) is all that S-IntroVAE has"
    schedule = {"epochs", "iterations", "warmup", "snapshots"}
    assert differing("cifar10", "soft-introvae") == {"kl_of_normal", "fakes", *schedule}
    assert differing("mnist", "soft-introvae") == {"kl_of_normal", "fakes", "beta_neg", *schedule}


@pytest.mark.parametrize(
    ("dataset", "batch", "latent"), [("mnist", 128, 32), ("fmnist", 128, 32), ("cifar10", 32, 128), ("svhn", 32, 128)]
)
def test_soft_introvaes_own_protocol_on_images(dataset: str, batch: int, latent: int) -> None:
    settings = presets.published(cell(dataset), "si")
    epoch = math.ceil(IMAGE_SHAPES[dataset][-1] / batch)
    assert (settings.batch_size, settings.latent_size) == (batch, latent)
    assert (settings.iterations, settings.warmup, settings.milestones) == (250 * epoch, 0, (350 * epoch,))
    assert settings.snapshots == tuple(e * epoch for e in (0, 100, 120, 140, 160, 180, 200, 220, 240, 249))
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == (1, 1, 256)
    assert presets.resolve(cell(dataset), protocol="si", iterations=1).warmup == 0
    with pytest.raises(SintroError, match=r"'mog10-fixed' is made in a warm-up, and .* has none; legal is normal"):
        presets.published(cell(dataset, prior="mog10-fixed"), "si")


def test_adam_restarts_only_where_an_introspective_phase_follows_a_warm_up() -> None:
    restarted = {"adam_at_introspection": "restarted"}
    for one in every_kind_of_cell():
        found = presets.resolve(one, values=restarted).adam_at_introspection
        assert found == (None if one.objective == "vae" else "restarted")
        carried = presets.resolve(one, values={"adam_at_introspection": "carried"})
        assert carried.adam_at_introspection is None
        if not one.data.has_factors:  # their preset restarts it
            assert carried == presets.published(one)
    assert presets.resolve(cell("cifar10"), values=restarted, protocol="si").adam_at_introspection is None


def test_every_revision_is_told() -> None:
    found = {presets.published(one).revision or 1 for one in every_kind_of_cell()}
    assert found == set(REVISIONS)


def test_studies_do_not_enter_the_digest() -> None:
    one = cell("rings")
    assert presets.published(one).digest == presets.published(one.model_copy(update={"study": "other"})).digest


@pytest.mark.parametrize("fraction", [1 / 2, 1 / 15, 1 / 100])
def test_a_shortened_schedule_keeps_its_proportions(fraction: float) -> None:
    for dataset in ("rings", "mnist"):
        one = cell(dataset, prior="mog64-fixed")
        full, short = presets.published(one), presets.resolve(one, length=fraction)
        for name in ("iterations", "warmup", "conversion", "milestones", "snapshots"):
            longs, shorts = getattr(full, name), getattr(short, name)
            pairs = zip(longs, shorts, strict=True) if isinstance(longs, tuple) else [(longs, shorts)]
            for before, after in pairs:
                assert abs(after - before * fraction) <= 1, name
        assert short.model_copy(update={name: getattr(full, name) for name in table.SCHEDULE_ROWS}) == full, (
            "and changes nothing else"
        )


def test_the_shortest_runs_still_have_every_phase() -> None:
    for dataset, iterations in itertools.product(("rings", "digits"), range(3, 40)):
        settings = presets.resolve(cell(dataset, prior="mog4-fixed"), iterations=iterations)
        assert settings.iterations == iterations
        assert 1 <= settings.conversion < settings.warmup < settings.iterations
    assert presets.resolve(cell("rings", prior="mog4-fixed"), length=1e-9).iterations == 3
    assert presets.resolve(cell("rings", "vae"), iterations=1).iterations == 1
    with pytest.raises(SintroError, match="iterations 2: its phases need at least 3"):
        presets.resolve(cell("rings", prior="mog4-fixed"), iterations=2)


def test_values_that_mean_nothing_for_a_cell_are_left_out() -> None:
    values = {"evaluation_points": 10, "evaluation_images": 10, "logits_at_conversion": "log-weights"}
    settings = presets.resolve(cell("rings"), values=values)
    assert (settings.evaluation_points, settings.evaluation_images) == (10, 0)
    assert settings.logits_at_conversion is None
    assert presets.resolve(cell("digits"), values=values).evaluation_images == 10


def test_a_prior_may_have_more_components_than_a_batch_has_points() -> None:
    assert presets.resolve(cell("rings", prior="mog64-fixed"), values={"batch_size": 32}).components == 64
    assert presets.resolve(cell("rings", prior="mog600-fixed")).components == 600
    assert presets.resolve(cell("digits", prior="mog200-fixed")).components == 200, "images draw from the whole set"
