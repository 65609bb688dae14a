"""Studies: the shipped grids, how a study changes settings, searched hyper-parameters, what is said of bad files."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sintro import SintroError
from sintro.cells import origins, presets, search_results, studies
from sintro.cells.cell import Cell
from sintro.cells.components import datasets
from sintro.cells.settings import Settings
from sintro.metrics import VERSIONS, versions
from sintro.runs import searches

Write = Callable[[str, str], Path]

GOOD = """
title: Good
seeds: [0, 1]
cells:
  - {datasets: [rings], objectives: [vae], priors: [normal, vamp8]}
"""


def test_table1_is_eight_rows_times_four_densities_times_five_seeds() -> None:
    cells = studies.load("table1").cells()
    assert len(cells) == 160
    rows = Counter((cell.objective, cell.prior, cell.regularizers) for cell in cells)
    assert rows == dict.fromkeys(
        [
            ("vae", "normal", "none"),
            ("vae", "vamp64", "none"),
            ("vae", "vamp64-lc", "none"),
            ("soft-introvae", "normal", "none"),
            ("soft-introvae", "mog64-fixed", "none"),
            ("soft-introvae", "mog64-fixed-lc", "none"),
            ("soft-introvae", "mog64-learned", "clip"),
            ("soft-introvae", "mog64-learned-lc", "clip"),
        ],
        20,
    )
    assert Counter(cell.dataset for cell in cells) == dict.fromkeys(datasets("2d"), 40)
    assert {cell.seed for cell in cells} == {0, 1, 2, 3, 4}
    assert all(studies.settings(cell) == presets.published(cell) for cell in cells)


DIGESTS = {  # of a study: how many cells, the first one's digest, the last one's, and the sha256 of all in their order
    "bootstrap": (9, "d93b2eac94246e92", "59f90ef58aa04f0f", "054d33bdb1a6908a"),
    "clipping": (80, "8da452fd4df79a9c", "83faa9877ec07b1d", "7cba9440c04a9bbb"),
    "detection": (27, "4303fa0d519da3ef", "e1c5c73b0d701b79", "a554edb8ce8911f4"),
    "paper": (457, "c61c472399c1bc40", "c8a608821f3fb93f", "7d7e7e1d5add0959"),
    "quick": (5, "a532d99c29ebd22c", "6c02f796aa59eb3f", "d86b4a16f5a2043b"),
    "search2d": (5172, "9fa3a84568d0b641", "2aacaf1a2de17bac", "2d643229453c6bdd"),
    "stability": (648, "b20e895d2800b804", "3ad0d95ed0aa82d1", "747e793b0661d7ab"),
    "stability-short": (108, "cab28e564851677a", "70cdbb6f89fdfebc", "b731cfd1350569cf"),
    "table-si": (12, "ba68404032793936", "18bf26f9ba2186f3", "77a00ba5abbc3e9f"),
    "table1": (160, "c61c472399c1bc40", "83faa9877ec07b1d", "0ac7e5ba288f827a"),
    "table2": (297, "2202672f31554539", "c8a608821f3fb93f", "4e5ca365f26a2b2c"),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_cells_of_a_study_keep_their_digests(name: str) -> None:
    found = [studies.settings(cell).digest for cell in studies.load(name).cells()]
    all_of_them = hashlib.sha256(" ".join(found).encode()).hexdigest()[:16]
    assert (len(found), found[0], found[-1], all_of_them) == DIGESTS[name]


def test_search2d_is_the_published_search() -> None:
    cells = studies.load("search2d").cells()
    assert len(cells) == 4 * (3 * 81 + 5 * 210) == 5_172
    assert {cell.seed for cell in cells} == {0}
    for objective, each in (("vae", 81), ("soft-introvae", 210)):
        rows = Counter((cell.dataset, cell.prior) for cell in cells if cell.objective_name == objective)
        assert set(rows.values()) == {each}
    weights = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1]
    vae = {cell.betas for cell in cells if cell.objective_name == "vae"}
    assert vae == {(rec, kl, None) for rec in weights for kl in weights}
    soft = {cell.betas for cell in cells if cell.objective_name == "soft-introvae"}
    assert soft == {
        (rec, kl, round(kl * multiple, 3))
        for rec in (0.05, 0.2, 0.3, 0.4, 0.8, 1)
        for kl in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1)
        for multiple in (1, 2, 3, 4, 5)
    }
    assert len({studies.settings(cell).digest for cell in cells}) == 5_172


def test_table1_short_is_all_of_table1_in_a_fifth_of_the_schedule() -> None:
    short = studies.load("table1-short")
    assert (short.comparable, short.fleet) == (False, 1)
    full = studies.load("table1").cells()
    assert [(cell.axes, cell.seed) for cell in short.cells()] == [(cell.axes, cell.seed) for cell in full]
    for cell in short.cells():
        settings = studies.settings(cell)
        vae = settings.objective == "vae"
        assert (settings.iterations, settings.warmup) == (6_000, 6_000 if vae else 400)
        assert settings.conversion == (380 if settings.prior == "mixture" else None)
        assert settings.milestones == (4_200, 5_400)
        assert (settings.batch_size, settings.samples, settings.learning_rate) == (256, 20, 5e-4)
        assert (settings.evaluation_grid, settings.adam_at_introspection) == (256, None if vae else "restarted")


def test_clipping_short_has_the_settings_of_table1_short() -> None:
    cells = studies.load("clipping-short").cells()
    assert Counter(cell.axes for cell in cells) == {
        (dataset, "soft-introvae", "mog64-learned", regularizers): 5
        for dataset in ("8gaussians", "rings")
        for regularizers in ("none", "clip")
    }
    clipped = [cell for cell in cells if cell.regularizers == "clip"]
    assert all(
        studies.settings(cell) == studies.settings(cell.model_copy(update={"study": "table1-short"}))
        for cell in clipped
    )


def test_fmnist_small_trains_small_networks_on_real_images_with_adam_restarted_or_carried() -> None:
    cells = studies.load("fmnist-small").cells()
    weights = ("none", "resp1", "resp10", "resp100")
    rows = [("vae", "normal", "none"), ("soft-introvae", "normal", "none")]
    rows += [("soft-introvae", "mog10-fixed", weight) for weight in weights]
    rows += [("soft-introvae", "mog10-learned", f"clip-{weight}".removesuffix("-none")) for weight in weights]
    assert Counter(cell.axes for cell in cells) == {("fmnist", *row): 3 for row in rows}
    for cell in cells:
        settings = studies.settings(cell)
        epoch = 79  # 10,000 images in batches of 128
        assert (settings.channels, settings.training_images, settings.batch_size) == ((16, 32), 10_000, 128)
        assert settings.epochs == settings.iterations / epoch == 15
        assert settings.evaluation_images == 5_000
        if settings.objective != "vae":
            assert settings.adam_at_introspection == "restarted"
            assert 2 * epoch <= settings.warmup < settings.iterations / 2
        if settings.conversion:
            assert 0 < settings.conversion < settings.warmup
        carried = studies.settings(cell.model_copy(update={"study": "fmnist-small-carried"}))
        assert carried == settings.model_copy(update={"adam_at_introspection": None})
    assert len(studies.load("fmnist-small-carried").cells()) == len(cells)


def test_quick_compares_the_priors_in_a_shortened_schedule() -> None:
    study = studies.load("quick")
    assert not study.comparable
    assert study.length < 1
    cells = study.cells()
    densities = {cell.dataset for cell in cells} & set(datasets("2d"))
    assert densities == {"spirals"}, "one density is all that five minutes allow"
    expected = {
        ("vae", "normal", "none"),
        ("soft-introvae-rec0.2-kl0.3-neg1", "normal", "none"),
        ("soft-introvae-rec0.2-kl0.3-neg1", "mog64-learned", "clip"),
    }
    assert {cell.axes[1:] for cell in cells if cell.dataset in densities} == expected
    embedded = [cell for cell in cells if cell.dataset not in densities]
    assert {cell.dataset for cell in embedded} == {"digits"}
    assert 2 <= len(embedded) <= 4
    assert any(cell.prior_spec.components for cell in embedded), "a prior with modes to look at"
    assert {studies.settings(cell).batch_size for cell in embedded} == {32}, "their own overrides"
    assert all(studies.settings(cell).batch_size == 64 for cell in cells if cell.dataset in densities)
    assert "chosen by the share of samples off the support with the seeds 100 to 102" in study.description
    assert not {cell.seed for cell in cells} & {100, 101, 102}, "other seeds are shown"


def test_mixed_precision_is_an_option_of_image_cells_that_is_told_and_not_comparable(write_study: Write) -> None:
    cells = "cells:\n  - {datasets: [digits, rings], objectives: [vae], priors: [normal]}\n"
    write_study("plain", "title: T\nseeds: [0]\n" + cells)
    digits, plane = studies.load("plain").cells()
    assert studies.settings(digits).precision == "float32"
    assert studies.sources(digits)["precision"].endswith("released code")
    mixed = studies.settings(digits, precision="bfloat16")
    assert mixed.precision == "bfloat16"
    assert mixed.digest != studies.settings(digits).digest
    assert studies.sources(digits, precision="bfloat16")["precision"].startswith("asked for; not the published float32")
    assert studies.settings(plane).precision is None
    with pytest.raises(SintroError, match="for image cells only"):
        studies.settings(plane, precision="bfloat16")
    for key in ("overrides", "image_overrides"):
        text = f"title: T\nseeds: [0]\n{key}: {{precision: bfloat16}}\n" + cells
        write_study("mixed", text)
        with pytest.raises(SintroError, match="comparable: true, but precision differs"):
            studies.load("mixed")
        write_study("mixed", text + "comparable: false\n")
        found = {cell.dataset: studies.settings(cell).precision for cell in studies.load("mixed").cells()}
        assert found == {"digits": "bfloat16", "rings": None}


def test_table_si_is_soft_introvaes_own_protocol_on_four_image_sets() -> None:
    study = studies.load("table-si")
    assert study.comparable
    cells = study.cells()
    assert {(cell.dataset, cell.seed) for cell in cells} == {
        (dataset, seed) for dataset in ("cifar10", "svhn", "mnist", "fmnist") for seed in (0, 1, 2)
    }
    assert len(cells) == 12
    assert {cell.path.split("/", 3)[3].rsplit("/", 1)[0] for cell in cells} == {"soft-introvae/normal/none"}
    for cell in cells:
        settings = studies.settings(cell)
        assert settings == presets.published(cell, "si")
        assert (settings.warmup, settings.kl_of_normal, settings.fakes) == (0, None, "reused")


def test_each_shipped_study_follows_the_protocol_of_its_paper() -> None:
    assert {name for name in studies.names() if studies.load(name).protocol == "si"} == {
        "stability", "stability-short", "bootstrap", "table-si", "celeba-128", "celebahq-256", "ffhq-256",
    }  # fmt: skip
    settings = {name: studies.settings(studies.load(name).cells()[-1]) for name in ("stability", "bootstrap", "table2")}
    assert {settings[name].kl_of_normal for name in ("stability", "bootstrap")} == {None}
    assert {settings[name].fakes for name in ("stability", "bootstrap")} == {"reused"}


def test_short_studies_restart_adam_and_full_ones_carry_it() -> None:
    restarting = set()
    for name in set(studies.names()) - {"search2d", "table1-searched"}:
        found = {studies.settings(cell).adam_at_introspection for cell in studies.load(name).cells()}
        restarting |= {name} if "restarted" in found else set()
    of_translation = {f"translation{suffix}" for suffix in ("", "-quick", "-baselines", "-all")}
    others = {"quick", "detection", "bootstrap", "fmnist-small", "table1-short", "clipping-short"}
    assert restarting == of_translation | others


def test_what_decides_a_setting_is_told(write_study: Write) -> None:
    cells = "cells: [{datasets: [rings], objectives: [soft-introvae], priors: [normal]}]\n"
    head = "title: T\nseeds: [0]\n"
    write_study("one", head + "protocol: si\noverrides: {adam_at_introspection: carried}\n" + cells)
    one = studies.load("one").cells()[0]
    told = studies.sources(one)
    assert told["kl_of_normal"].startswith("Daniel & Tamar")
    assert told["fakes"].startswith("Daniel & Tamar")
    assert told["adam_at_introspection"].startswith("study one: overrides; Athanasiadis")
    assert origins.in_words(studies.settings(one))["adam_at_introspection"] == "carried"
    assert studies.settings(one) == studies.published(one)
    write_study("one", head + "protocol: mine\n" + cells)
    with pytest.raises(SintroError, match=r"protocol: .*'pl' or 'si'.*mine"):
        studies.load("one")
    write_study("one", head + "overrides: {adam_at_introspection: restarted}\n" + cells)
    with pytest.raises(SintroError, match="adam_at_introspection differs from the published runs; legal is false"):
        studies.load("one")


def test_table1_searched_is_table1_with_other_hyper_parameters() -> None:
    plain, searched = studies.load("table1"), studies.load("table1-searched")
    assert [cell.axes for cell in searched.cells()] == [cell.axes for cell in plain.cells()]
    assert searched.hyperparameters == "search2d"
    searched_for = {search_results.key_of(cell) for cell in studies.load("search2d").cells()}
    assert {search_results.key_of(cell) for cell in searched.cells()} == searched_for, (
        "each has something to choose from"
    )


def test_a_new_file_is_a_new_study(write_study: Write) -> None:
    write_study("good", GOOD)
    assert studies.names() == ["good"]
    paths = [cell.path for cell in studies.load("good").cells()]
    assert paths == [f"results/good/rings/vae/{prior}/none/seed{k}" for prior in ("normal", "vamp8") for k in (0, 1)]


def test_studies_are_found_where_the_environment_says(
    write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study("good", GOOD)
    monkeypatch.chdir("/")
    assert "quick" in studies.names(), "without study files here: those of the checkout"
    monkeypatch.setenv("SINTRO_STUDIES", str(tmp_path / "workflow" / "studies"))
    assert studies.names() == ["good"]


def test_an_edited_file_is_read_again(write_study: Write) -> None:
    write_study("good", GOOD)
    assert len(studies.load("good").cells()) == 4
    write_study("good", GOOD.replace("[0, 1]", "[0, 1, 2]"))
    assert len(studies.load("good").cells()) == 6


def test_length_and_overrides_change_the_settings_and_say_so(write_study: Write) -> None:
    write_study(
        "short",
        GOOD
        + "comparable: false\nlength: 1/10\n"
        + "overrides: {batch_size: 64, samples: 7, evaluation_grid: 32, logits_at_conversion: log-weights}\n",
    )
    cell = Cell.from_path("results/short/rings/soft-introvae/mog8-fixed-lc/none/seed9")  # not in the grid, and fine
    settings, sources = studies.settings(cell), studies.sources(cell)
    assert (settings.iterations, settings.warmup, settings.conversion) == (3_000, 200, 190)
    assert (settings.batch_size, settings.samples, settings.evaluation_grid) == (64, 7, 32)
    assert settings.logits_at_conversion == "log-weights"
    assert sources["iterations"].startswith("study short: length 1/10; published: 30000 iterations")
    assert sources["samples"].startswith("study short: overrides; not the published 100")
    assert "study short" not in sources["beta_rec"]
    assert set(sources) == set(Settings.model_fields)

    write_study("short", GOOD + "comparable: false\noverrides: {iterations: 600}\n")
    settings = studies.settings(cell)
    assert (settings.iterations, settings.warmup, settings.conversion) == (600, 40, 38)
    assert studies.settings(cell, iterations=300).warmup == 20
    assert studies.sources(cell, iterations=300)["warmup"].startswith("asked for: 300 iterations")


SHARES = "comparable: false\nlength: 1/10\n{key}: {{milestones: [0.7, 9/10], warmup: 1/5, conversion_lead: 0.05}}\n"


def test_shares_of_the_length_set_the_phases_whatever_the_length_and_say_so(write_study: Write) -> None:
    write_study("short", GOOD + SHARES.format(key="overrides"))
    cell = Cell.from_path("results/short/rings/soft-introvae/mog8-fixed/none/seed9")
    settings, told = studies.settings(cell), studies.sources(cell)
    assert (settings.iterations, settings.warmup, settings.conversion) == (3_000, 600, 450)
    assert settings.milestones == (2_100, 2_700)
    assert told["iterations"].startswith("study short: length 1/10; published: 30000 iterations")
    assert told["warmup"].startswith("study short: overrides, warmup 1/5 of the length; published: 2000 iterations")
    assert told["conversion"].startswith("study short: overrides, conversion_lead 1/20 of the length; published: 100")
    assert told["milestones"].startswith("study short: overrides, milestones 7/10, 9/10 of the length; published: ")
    settings = studies.settings(cell, iterations=100)
    assert (settings.warmup, settings.conversion, settings.milestones) == (20, 15, (70, 90))
    vae = Cell.from_path("results/short/rings/vae/normal/none/seed9")
    assert studies.settings(vae).warmup == studies.settings(vae).iterations == 3_000
    assert "warmup 1/5" not in studies.sources(vae)["warmup"], "it is a warm-up from end to end"
    assert studies.sources(vae)["conversion"] == "does not apply"

    write_study("short", GOOD.replace("rings", "mnist") + SHARES.format(key="image_overrides"))
    digits = Cell.from_path("results/short/mnist/soft-introvae/mog8-fixed/none/seed9")
    settings = studies.settings(digits)
    assert settings.iterations == 22 * 469
    assert (settings.warmup, settings.conversion) == (2_064, 1_548)
    assert settings.milestones == (7_223, 9_286)


def test_fewer_training_images_and_other_channels_are_settings_of_image_cells(write_study: Write) -> None:
    changes = "comparable: false\noverrides: {training_images: 1000, channels: [4, 8]}\n"
    write_study("few", GOOD.replace("[rings]", "[rings, fmnist]") + changes)
    plane, image = (Cell.from_path(f"results/few/{name}/vae/normal/none/seed0") for name in ("rings", "fmnist"))
    assert studies.settings(plane) == studies.published(plane)
    settings, told = studies.settings(image), studies.sources(image)
    assert (settings.training_images, settings.channels) == (1_000, (4, 8))
    assert settings.evaluation_images == 1_000, "no more than the real images that they are compared with"
    assert told["evaluation_images"].startswith("not the published 50000 (")
    assert (settings.epochs, settings.iterations) == (220, 220 * 8), "epochs are of these images"
    assert told["training_images"] == (
        "study few: overrides; not the published all (the whole training split; docs/science.md, section 6)"
    )
    assert told["channels"].startswith("study few: overrides; not the published 64, 128 (")
    assert studies.published(image).training_images is None
    assert origins.in_words(studies.published(image))["training_images"] == "all"


def test_betas_of_the_path_are_said_to_be_the_paths() -> None:
    cell = Cell.from_path("results/table1/rings/soft-introvae-rec0.2-kl0.2-neg1/normal/none/seed0")
    assert studies.sources(cell)["beta_neg"] == "the cell's path"


def test_a_union_has_the_cells_of_its_parts_in_their_folders(write_study: Write) -> None:
    write_study("one", GOOD)
    write_study("two", GOOD.replace("rings", "spirals"))
    write_study("both", "title: Both\ninclude: [one, two]\n")
    both = studies.load("both")
    assert both.cells() == studies.load("one").cells() + studies.load("two").cells()
    with pytest.raises(SintroError, match="union of one, two: its cells lie in their folders, as results/one/"):
        studies.settings(Cell.from_path("results/both/rings/vae/normal/none/seed0"))


COPY = "title: Copy\ncells_from: good\n"


def test_a_study_can_have_the_grid_of_another_or_a_part_of_it(write_study: Write) -> None:
    write_study("good", GOOD.replace("[rings]", "[rings, spirals]"))
    whole = studies.load("good").cells()
    write_study("copy", COPY + "comparable: false\nlength: 1/2\n")
    copied = studies.load("copy").cells()
    assert [cell.path for cell in copied] == [cell.path.replace("results/good/", "results/copy/") for cell in whole]
    assert {studies.settings(cell).iterations for cell in copied} == {15_000}, "length and settings are its own"
    write_study("part", COPY + "datasets: [rings]\npriors: [vamp8]\nseeds: [1]\n")
    assert [cell.path for cell in studies.load("part").cells()] == ["results/part/rings/vae/vamp8/none/seed1"]
    write_study("part-of-part", COPY.replace("good", "copy") + "seeds: [0]\n")
    assert len(studies.load("part-of-part").cells()) == 4
    write_study("good", GOOD)
    assert len(studies.load("copy").cells()) == 4, "it follows the other"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (COPY.replace("good", "goof"), ["copy.yaml: cells_from: study 'goof' is not one of", "did you mean 'good'?"]),
        (COPY.replace("good", "copy"), ["cells_from: copy -> copy goes round in a circle"]),
        (COPY.replace("good", "other"), ["cells_from: copy -> other -> copy goes round in a circle"]),
        (COPY.replace("good", "both"), ["cells_from: study both is the union of good; legal is a study with cells"]),
        (COPY + GOOD.partition("seeds")[2].partition("\n")[2], ["one of the keys cells, cells_from and include"]),
        (COPY + "include: [good]", ["one of the keys cells, cells_from and include"]),
        (COPY + "datasets: [spirals]", ["datasets: study good has rings, not 'spirals'"]),
        (COPY + "priors: [vamp9]", ["priors: study good has normal, vamp8, not 'vamp9'", "did you mean 'vamp8'?"]),
        (COPY + "seeds: [0, 2]", ["seeds: study good has 0, 1, not 2"]),
        (COPY.replace("good", "uneven") + "datasets: [rings]\npriors: [vamp8]", ["datasets and priors together"]),
        (GOOD + "datasets: [rings]", ["datasets: legal beside cells_from only"]),
        (GOOD + "priors: [normal]", ["priors: legal beside cells_from only"]),
    ],
)
def test_a_grid_that_cannot_be_copied_is_refused_in_a_line(write_study: Write, text: str, said: list[str]) -> None:
    write_study("good", GOOD)
    write_study("both", "title: Both\ninclude: [good]\n")
    write_study("other", "title: Other\ncells_from: copy\n")
    vamp = "\n  - {datasets: [spirals], objectives: [vae], priors: [vamp8]}"
    write_study("uneven", GOOD.replace(", vamp8", "").rstrip() + vamp)
    write_study("copy", text)
    with pytest.raises(SintroError) as error:
        studies.load("copy")
    message = str(error.value)
    assert message.startswith("workflow/studies/copy.yaml: ")
    assert "\n" not in message
    for words in said:
        assert words in message


def test_hidden_files_are_no_studies(write_study: Write) -> None:
    write_study("good", GOOD)
    write_study("._good", "\0")
    assert studies.names() == ["good"]


def test_when_adam_restarts_is_said_of_lord_too(write_study: Write) -> None:
    write_study("good", GOOD.replace("rings", "solids").replace("vae", "lord").replace(", vamp8", ""))
    cell = studies.load("good").cells()[0]
    assert origins.in_words(studies.settings(cell))["adam_at_introspection"] == "restarted"
    assert "LORD" in origins.sources(studies.settings(cell))["adam_at_introspection"]


SHORT = GOOD.replace("vamp8", "vamp64") + "comparable: false\n"
IMAGES = SHORT.replace("rings", "fmnist") + "image_overrides: "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "overrides: {milestones: [0.5]}", ["comparable: true, but milestones differs"]),
        (GOOD + "image_overrides: {training_images: 9}", ["comparable: true, but training_images differs"]),
        (
            GOOD + "overrides: {adam_at_introspection: restarted}\nimage_overrides: {adam_at_introspection: carried}",
            ["comparable: true, but adam_at_introspection differs"],
        ),
        (
            SHORT.replace("rings", "solids").replace("vae", "lord").replace(", vamp64", "")
            + "overrides: {milestones: [0.5]}",
            ["overrides: results/good/solids/lord/normal/none/seed0: milestones: its learning rate follows a cosine"],
        ),
        (SHORT + "fleet: many", ["fleet: legal are a whole number above 0 and auto, not 'many'"]),
        (SHORT + "fleet: 0", ["fleet: legal are a whole number above 0 and auto, not 0"]),
        (SHORT + "overrides: {milestones: [0.7, 1]}", ["overrides.milestones[1]: input should be less than 1, not 1"]),
        (SHORT + "overrides: {milestones: [0, 0.7]}", ["overrides.milestones[0]: input should be greater than 0"]),
        (SHORT + "overrides: {milestones: [0.7, 0.7]}", ["overrides.milestones: legal are shares that increase, not"]),
        (SHORT + "overrides: {milestones: []}", ["overrides.milestones:"]),
        (GOOD.replace("[0, 1]", "[a]"), ["seeds[0]: input should be a valid integer", "not 'a'"]),
        (GOOD.replace("[0, 1]", "0"), ["seeds: legal is a list, such as [0], not 0"]),
        (GOOD + "overrides:\n", ["overrides: legal is a mapping with the keys batch_size, samples"]),
        (SHORT + "overrides: {milestones: 0.7}", ["overrides.milestones:", "not 0.7"]),
        (SHORT + "overrides: {warmup: 400}", ["overrides.warmup: input should be less than 1, not 400"]),
        (SHORT + "overrides: {warmup: 1/1}", ["overrides.warmup: input should be less than 1"]),
        (SHORT + "overrides: {conversion_lead: a}", ["overrides.conversion_lead:", "not 'a'"]),
        (
            SHORT.replace("[vae]", "[soft-introvae]").replace("vamp64", "mog8-fixed") + "overrides: {warmup: 1/300}",
            ["overrides: results/good/rings/soft-introvae/mog8-fixed/none/seed0: conversion_lead 0.00333 of the length",
             "legal is less than that"],
        ),
        (IMAGES + "{channels: [8, 9, 7]}", ["channels 8, 9, 7: each halves the images of 28 x 28", "1 to 2 numbers"]),
        (
            IMAGES.replace("fmnist", "digits") + "{channels: [4, 4, 4, 4], training_images: 129}",
            ["channels 4, 4, 4, 4: they halve images of 16 x 16 pixels to one pixel", "legal is a number fewer"],
        ),
        (
            IMAGES.replace("fmnist", "digits") + "{channels: [4, 4, 4, 4], evaluation_images: 129}",
            ["channels 4, 4, 4, 4: they halve images of 16 x 16 pixels to one pixel", "or number of images"],
        ),
        (IMAGES + "{channels: []}", ["image_overrides.channels:"]),
        (IMAGES + "{training_images: 60001}", ["training_images 60001: legal are 100 to 60000"]),
        (IMAGES + "{training_images: 99}", ["training_images 99: legal are 100 to 60000, since the k-NN probe has as"]),
        (
            IMAGES.replace("vamp64", "vamp128") + "{training_images: 127}",
            ["training_images 127: legal are 128 to 60000, since prior 'vamp128' starts"],
        ),
        (IMAGES.replace("fmnist", "solids") + "{training_images: 9}", ["training_images 9: legal are 10 to 1536"]),
        (IMAGES + "{evaluation_images: 9}", ["evaluation_images 9: legal are 10 to 60000"]),
        (IMAGES + "{evaluation_images: 60001}", ["evaluation_images 60001: legal are 10 to 60000"]),
        (
            IMAGES + "{training_images: 200, evaluation_images: 201}",
            ["evaluation_images 201: legal are 10 to 200, as many as to train on"],
        ),
        (IMAGES + "{training_images: 0}", ["image_overrides.training_images: input should be greater than 0, not 0"]),
    ],
)  # fmt: skip
def test_a_schedule_or_an_option_that_fits_no_run_is_refused_in_a_line(
    write_study: Write, text: str, said: list[str]
) -> None:
    write_study("good", text)
    with pytest.raises(SintroError) as error:
        studies.load("good")
    message = str(error.value)
    assert message.startswith("workflow/studies/good.yaml: ")
    assert "\n" not in message
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "seedz: [1]", ["seedz: unknown key", "legal are title, description", "did you mean 'seeds'?"]),
        (GOOD.replace("priors", "prior"), ["cells[0].prior", "regularizers", "did you mean 'priors'?"]),
        (GOOD.replace("rings", "ringz"), ["cells[0]: dataset 'ringz'", "8gaussians", "did you mean 'rings'?"]),
        (
            GOOD.replace("rings", "digits").replace("vamp8", "vamp9999"),
            ["cells[0]: prior 'vamp9999'", "digits has only"],
        ),
        (GOOD.replace("[vae]", "[vea]"), ["cells[0]: objective 'vea'", "did you mean 'vae'?"]),
        (GOOD.replace("[0, 1]", "[0, 1, 0]"), ["results/good/rings/vae/normal/none/seed0 is there 2 times"]),
        (GOOD.replace("[0, 1]", "[-1]"), ["seeds[0]: input should be greater than or equal to 0, not -1"]),
        (GOOD.replace("[0, 1]", "3"), ["seeds:", "not 3"]),
        (GOOD.replace("seeds: [0, 1]", ""), ["cells[0]: seeds: missing", "[0, 1, 2]"]),
        (GOOD.replace("title: Good", ""), ["title: this key is missing"]),
        (GOOD.split("cells:")[0], ["one of the keys cells, cells_from and include"]),
        (GOOD + "include: [good]", ["one of the keys cells, cells_from and include"]),
        (GOOD + "length: 0", ["length: input should be greater than 0, not 0"]),
        (GOOD + "length: 1/0", ["length:", "not '1/0'"]),
        (GOOD + "length: 1.5", ["length: input should be less than or equal to 1, not 1.5"]),
        (GOOD + "length: 1/2", ["comparable: true, but length", "legal is false"]),
        (GOOD + "overrides: {samples: 1}", ["comparable: true, but samples", "legal is false"]),
        (GOOD + "overrides: {sample: 1}", ["overrides.sample: unknown key", "did you mean 'samples'?"]),
        (GOOD + "overrides: {evaluation_grid: 1}", ["overrides.evaluation_grid: input should be greater than 1"]),
        (GOOD + "overrides: {samples: 0}", ["overrides.samples: input should be greater than 0, not 0"]),
        (
            GOOD + "overrides: {logits_at_conversion: weight}",
            ["overrides.logits_at_conversion", "'weights' or 'log-weights'", "did you mean 'weights'?"],
        ),
        (GOOD + "overrides: {learning_rate: .inf}", ["overrides.learning_rate: input should be a finite number"]),
        (GOOD + f"overrides: {{samples: {10**26}}}", ["overrides.samples: input should be less than 2147483648"]),
        (GOOD + "hyperparameters: good", ["hyperparameters: good: legal are presets and the name of another study"]),
        (GOOD + "hyperparameters: search", ["hyperparameters: 'search' is not one of presets, good"]),
        (
            GOOD.replace("vamp8]", "vamp8], betas: {rec: [1], kl: [-0.3]}"),
            ["cells[0].betas.kl[0]: input should be greater than 0, not -0.3"],
        ),
        (
            GOOD.replace("vamp8]", "vamp8], betas: {rec: [1], kl: [1], neg: [1]}"),
            ["cells[0].betas.neg: unknown key; legal are rec, kl, neg_times_kl"],
        ),
        (
            GOOD.replace("vamp8]", "vamp8], betas: {rec: [1], kl: [1], neg_times_kl: [1]}"),
            ["cells[0]: objective 'vae-rec1-kl1-neg1'", "takes beta_rec and beta_kl only"],
        ),
        (GOOD + "title: Again", ["key 'title' is given twice", "line 6"]),
        (GOOD + "cells: [", ["not readable as YAML"]),
        ("title: 2020-13-45\n", ["not readable as YAML: month must be in 1..12"]),
        ("title: " + "[" * 3000, ["not readable as YAML: "]),
        ("- a\n- list", ["a mapping with the keys title"]),
        ("", ["a mapping with the keys title"]),
        ("title: U\ninclude: [nope]", ["include: study 'nope' is not one of good"]),
        ("title: U\ninclude: [good]", ["include: good -> good goes round in a circle"]),
        ("title: U\ninclude: [good]\nlength: 1/2", ["length: a union takes these from the studies it includes"]),
    ],
)
def test_a_bad_file_is_refused_in_a_line_with_file_key_value_and_legal_values(
    write_study: Write, text: str, said: list[str]
) -> None:
    write_study("good", text)
    with pytest.raises(SintroError) as error:
        studies.load("good")
    message = str(error.value)
    assert message.startswith("workflow/studies/good.yaml: ")
    assert "\n" not in message
    for words in said:
        assert words in message


def test_a_union_of_equal_rows_and_seeds_is_refused(write_study: Write) -> None:
    write_study("one", GOOD)
    write_study("two", GOOD.replace("[0, 1]", "[1, 2]"))
    write_study("both", "title: Both\ninclude: [one, two]\n")
    with pytest.raises(SintroError) as error:
        studies.load("both")
    run = "rings/vae/normal/none/seed1"
    said = f"workflow/studies/both.yaml: include: results/one/{run} and results/two/{run} have one place in a table; "
    assert str(error.value).startswith(said)


def test_a_union_does_not_hide_that_a_part_is_not_comparable(write_study: Write) -> None:
    write_study("short", GOOD + "comparable: false\nlength: 1/2\n")
    write_study("both", "title: Both\ninclude: [short]\n")
    with pytest.raises(SintroError, match="comparable: true, but study short is not"):
        studies.load("both")
    write_study("both", "title: Both\ncomparable: false\ninclude: [short]\n")
    assert not studies.load("both").comparable


@pytest.mark.parametrize(("name", "said"), [("quik", "did you mean 'quick'?"), ("../quick", "lower-case letters")])
def test_an_unknown_study_is_refused_with_the_known_ones(name: str, said: str) -> None:
    with pytest.raises(SintroError) as error:
        studies.load(name)
    assert said in str(error.value)


SEARCH = """
title: Search
seeds: [0, 1]
cells:
  - {datasets: [rings], objectives: [vae], priors: [normal, vamp8], betas: {rec: [0.5, 1], kl: [0.5, 1]}}
"""
SEARCHED = GOOD + "hyperparameters: search\n"


def write_metrics(cell: Cell, **metrics: object) -> None:
    folder = Path(cell.path)
    folder.mkdir(parents=True)
    metrics["digest"] = studies.settings(cell).digest
    metrics[VERSIONS] = versions(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "provenance.json").write_text(json.dumps({"status": metrics["status"], "digest": metrics["digest"]}))


def test_the_lowest_published_kl_is_chosen_and_the_search_result_says_how(write_study: Write) -> None:
    write_study("search", SEARCH)
    write_study("searched", SEARCHED)
    normal = [cell for cell in studies.load("search").cells() if cell.prior == "normal"]
    at_seed_0, at_seed_1 = ([cell for cell in normal if cell.seed == seed] for seed in (0, 1))
    write_metrics(at_seed_0[0], kl_published=3.0, status="done")
    write_metrics(at_seed_0[1], kl_published=2.0, status="done")
    write_metrics(at_seed_0[2], kl_published="nan", status="diverged")
    for cell in at_seed_1:
        write_metrics(cell, kl_published=0.0, status="done")  # another seed has no say

    path = searches.choose("search", studies.load("search").cells())
    assert path == Path("results/search/chosen.json")
    content = json.loads(path.read_text())
    found = content["choices"]["rings/vae/normal/none"]
    assert found == {
        "cell": at_seed_0[1].path,
        "betas": {"rec": 0.5, "kl": 1.0, "neg": None},
        "margin": None,
        "kl_published": 2.0,
        "runner_up": {"cell": at_seed_0[0].path, "kl_published": 3.0},
        "candidates": 4,
        "finished": 2,
        "diverged": 1,
        "missing": 1,
    }
    assert "lowest kl_published at seed 0" in content["rule"]

    one = Cell.from_path("results/searched/rings/vae/normal/none/seed1")
    settings = studies.settings(one)
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == (0.5, 1.0, None)
    assert studies.sources(one)["beta_kl"].startswith("results/search/chosen.json: lowest kl_published of 4 candidates")
    explicit = Cell.from_path("results/searched/rings/vae-rec3-kl2/normal/none/seed1")
    assert studies.settings(explicit).beta_rec == 3, "explicit betas need no search result"

    unfinished = Cell.from_path("results/searched/rings/vae/vamp8/none/seed0")
    with pytest.raises(SintroError, match=r"no search result for rings/vae/vamp8/none.*sintro choose search"):
        studies.settings(unfinished)


def test_a_chosen_cell_of_introvae_keeps_its_margin(write_study: Write) -> None:
    cells = "cells:\n  - {datasets: [rings], objectives: [introvae], priors: [normal]"
    grid = ", betas: {rec: [1], kl: [0.3], neg_times_kl: [1], margin: [1, 20]}}\n"
    write_study("search", f"title: Search\ndescription: A search.\nseeds: [0]\n{cells}{grid}")
    write_study("searched", f"title: Used\ndescription: It.\nhyperparameters: search\nseeds: [1]\n{cells}}}\n")
    for value, cell in enumerate(studies.load("search").cells()):
        write_metrics(cell, kl_published=9.0 - value, status="done")
    searches.choose("search", studies.load("search").cells())
    cell = Cell.from_path("results/searched/rings/introvae/normal/none/seed1")
    assert studies.settings(cell).margin == 20
    assert studies.sources(cell)["margin"].startswith("results/search/chosen.json: lowest kl_published of 2 candidates")


def test_without_a_search_result_the_command_that_makes_it_is_named(write_study: Write) -> None:
    write_study("search", SEARCH)
    write_study("searched", SEARCHED)
    cell = studies.load("searched").cells()[0]
    with pytest.raises(SintroError, match=r"results/search/chosen.json, which is missing.*`sintro choose search`"):
        studies.settings(cell)
    with pytest.raises(SintroError, match="none of its 8 candidates has finished"):
        searches.choose("search", studies.load("search").cells())
    with pytest.raises(SintroError, match="no cell with explicit betas"):
        searches.choose("searched", studies.load("searched").cells())

    path = search_results.file_of("search")
    path.parent.mkdir(parents=True)
    for broken in (
        "{",
        "[]",
        '{"choices": {"rings/vae/normal/none": {"betas": {"rek": 1}}}}',
        '{"choices": {"a": {"betas": {"rec": 1, "kl": 1}}}}',
        '{"choices": {"a": {"betas": {"rec": 1, "kl": 1, "neg": null}}}}',
        '{"choices": {"a": {"betas": {"rec": "1", "kl": 1, "neg": null}, "candidates": 2}}}',
        '{"choices": {"a": {"betas": {"rec": -1, "kl": 1, "neg": null}, "candidates": 2}}}',
        '{"choices": {"a": {"betas": {"rec": Infinity, "kl": 1, "neg": null}, "candidates": 2}}}',
    ):
        path.write_text(broken)
        with pytest.raises(SintroError, match="not a file of search results"):
            studies.settings(cell)


def test_an_equal_value_is_chosen_by_path_so_that_the_result_is_a_function_of_the_results(write_study: Write) -> None:
    write_study("search", SEARCH)
    cells = [cell for cell in studies.load("search").cells() if cell.prior == "normal" and cell.seed == 0]
    for cell in cells:
        write_metrics(cell, kl_published=1.0, status="done")
    for order in (cells, cells[::-1]):
        content = json.loads(searches.choose("search", order).read_text())
        assert content["choices"]["rings/vae/normal/none"]["cell"] == min(cell.path for cell in cells)


@pytest.mark.parametrize("value", [math.inf, math.nan, "inf", "nan"])
def test_a_value_that_is_not_finite_is_never_chosen(write_study: Write, value: object) -> None:
    write_study("search", SEARCH)
    cells = [cell for cell in studies.load("search").cells() if cell.prior == "normal" and cell.seed == 0]
    write_metrics(cells[0], kl_published=value, status="done")
    write_metrics(cells[1], kl_published=9.0, status="done")
    content = json.loads(searches.choose("search", cells).read_text())
    found = content["choices"]["rings/vae/normal/none"]
    assert found["cell"] == cells[1].path
    assert (found["finished"], found["diverged"], found["missing"]) == (1, 1, 2)
    assert found["runner_up"] is None
