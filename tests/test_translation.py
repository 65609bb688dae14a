"""Image translation: retrieval, leakage and errors against references, from a short training to the page's grid."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sintro.basics.progress import Steps
from sintro.basics.randomness import generator
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.data import factors, images
from sintro.data.images import ImageSet
from sintro.evaluation import translation
from sintro.evaluation.likeness import perceptual
from sintro.metrics import METRICS, classifier
from sintro.metrics.representation import mlp_probe
from sintro.metrics.translation import Labels, nearest, relative_error, retrieval, transfer_error
from sintro.objectives.build import stored_model
from sintro.objectives.model import Model
from sintro.objectives.two_codes import two_code_pair
from sintro.priors import StandardNormal
from sintro.report.figures import archived
from sintro.report.figures.translation import draw_translations, grid_png, sheet
from sintro.report.numbers import translation as tables
from sintro.report.numbers.results import Result
from sintro.report.pages.pictures import figure_views
from sintro.runs import thinning
from sintro.training.players import Players

CELL = Cell.from_path("results/s/solids/vae/normal/none/seed0")


@pytest.fixture(scope="module")
def every():
    return factors.load("solids")


def labels_of(every):
    return translation._labels(every)


# --- retrieval


def test_retrieval_of_real_images_is_one(every):
    first, second = every.pairs(500, seen=False)
    labels = labels_of(every)
    places = every.truth(every.classes[first], every.contents[second])
    found = nearest(every.batch(places), every.images)
    assert (found == places).all()
    scores = retrieval(labels.at(found), labels.at(first), labels.at(second))
    assert scores == {
        "retrieval_class": 1,
        "retrieval_content": 1,
        "retrieval_trait": 1,
        "kept_class": 0,
        "kept_content": 0,
    }


def test_copies_have_the_wrong_class_or_the_wrong_content(every):
    first, second = every.pairs(500, seen=False)
    labels = labels_of(every)
    of_content, of_class = (nearest(every.batch(places), every.images) for places in (second, first))
    scores = retrieval(labels.at(of_content), labels.at(first), labels.at(second))
    assert (scores["retrieval_class"], scores["retrieval_content"], scores["kept_class"]) == (0, 1, 1)
    scores = retrieval(labels.at(of_class), labels.at(first), labels.at(second))
    assert (scores["retrieval_class"], scores["retrieval_content"], scores["kept_content"]) == (1, 0, 1)


def test_the_nearest_image_is_exact_in_any_chunk(monkeypatch):
    """Images that differ by one grey value of one pixel are told apart; SciPy in float64 says which is nearest."""
    from scipy.spatial.distance import cdist

    draws = torch.Generator().manual_seed(0)
    real = torch.randint(100, 255, (1, 3, 16, 16), generator=draws, dtype=torch.uint8).repeat(40, 1, 1, 1)
    real.view(40, -1)[torch.arange(40), torch.arange(40)] -= 1
    queries = real[torch.randperm(40, generator=draws)[:20]].float() / 255 + 1e-4
    expected = cdist(queries.flatten(1).double(), real.flatten(1).double() / 255).argmin(1)
    for chunk in (7, 4096):
        monkeypatch.setattr("sintro.metrics.translation.CHUNK", chunk)
        monkeypatch.setattr("sintro.metrics.translation.SHORTLIST", 40)
        assert nearest(queries, real).tolist() == expected.tolist()


def test_without_content_labels_only_classes_are_retrieved():
    classes = torch.tensor([0, 1, 2])
    scores = retrieval(Labels(classes, None, None), Labels(classes, None, None), Labels(classes.flip(0), None, None))
    assert scores == {"retrieval_class": 1, "kept_class": pytest.approx(1 / 3)}


# --- errors


def test_errors_are_relative_to_ceiling_and_copy():
    truth = torch.zeros(4, 3, 2, 2)
    assert transfer_error(truth + 0.1, truth) == pytest.approx(0.01)
    assert transfer_error(truth, truth) == 0
    assert relative_error(0.03, 0.01, 0.05) == pytest.approx(0.5)
    assert relative_error(0.01, 0.01, 0.05) == 0
    assert relative_error(0.05, 0.01, 0.05) == 1
    assert math.isnan(relative_error(0.03, 0.06, 0.05))


# --- leakage


def codes_of(class_code, content_code):
    mean = torch.cat([class_code, content_code], 1)
    return translation.Codes(translation.Posterior(mean, torch.zeros_like(mean)), class_code.shape[1])


def test_a_code_that_is_the_label_leaks_all_and_noise_leaks_chance(every):
    count = len(every.classes)
    one_hot = torch.nn.functional.one_hot(every.classes, 40).float()
    noise = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    metrics = translation._leakage(codes_of(noise, one_hot), every)
    assert metrics["leakage_class"] == metrics["leakage_class_linear"] == 1
    tested = round(len(every.train) / 5)
    for name, options in (("control_class", 32), ("leakage_content", 48)):
        chance = 1 / options
        sd = math.sqrt(chance * (1 - chance) / tested)
        for suffix in ("", "_linear"):
            assert abs(metrics[name + suffix] - chance) < 3 * sd, name + suffix


def test_the_network_reads_what_no_linear_probe_sees():
    code = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    labels = (code[:, 0] * code[:, 1] > 0).long()
    assert mlp_probe(code[:1600], labels[:1600], code[1600:], labels[1600:]).accuracy > 0.93


# --- whole models


def small_model(seed=0):
    return Model(*two_code_pair((3, 32, 32), 8, 8, generator(seed, "test")), StandardNormal(16), 3, class_size=8)


def test_a_translation_into_itself_is_the_reconstruction(every):
    model = small_model()
    places = torch.arange(0, 1920, 97)
    with torch.no_grad():
        posterior = model.encode(every.batch(places))
        codes = translation.Codes(posterior, 8)
        own = torch.arange(len(places))
        translated = model.decoder(codes.swapped(own, own))
        torch.testing.assert_close(translated, model.decoder(posterior.mean))


@pytest.fixture(scope="module")
def trained():
    """A VAE of 150 iterations, and what its evaluation finds."""
    changes = {"iterations": 150, "warmup": 150, "milestones": (), "learning_rate": 2e-3, "evaluation_images": 200}
    settings = published(CELL).model_copy(update=changes)
    players = Players([settings])
    for iteration in range(settings.iterations):
        players.step(iteration)
    return settings, stored_model(settings, players.state(), "cpu")


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    settings, model = trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation, "PAIRS", 300)
        patch.setattr(classifier, "STEPS", 5)
        results, looks = tmp_path_factory.mktemp("results"), perceptual("solids", "cpu")
        return translation.measure_translation(model, settings, "cpu", results, Steps(), looks)


@pytest.mark.slow
def test_a_short_run_beats_the_copies(measured):
    metrics, _ = measured
    copies = [metrics[translation.REFERENCES][row]["transfer_mse"] for row in translation.COPIES]
    assert metrics["transfer_mse"] < min(copies)
    assert metrics["transfer_mse_seen"] < min(copies)
    assert metrics["transfer_ceiling"] <= metrics["transfer_mse"]


@pytest.mark.slow
def test_every_number_is_defined_and_a_kl_is_the_sum_of_both_codes(measured, trained, every):
    metrics, _ = measured
    numbers = {name for name, value in metrics.items() if isinstance(value, float)}
    assert numbers <= METRICS.keys()
    expected = {"kl_class", "kl_content", "cfid_transfer", "transfer_relative_seen", "leakage_content_linear"}
    assert expected <= numbers
    _, model = trained
    with torch.no_grad():
        posterior = model.encode(images.load("solids", "test").batch(slice(None)))
    whole = 0.5 * (posterior.mean.square() + posterior.log_var.exp() - posterior.log_var - 1).sum(1).mean()
    assert metrics["kl_class"] + metrics["kl_content"] == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.slow
def test_the_grid_has_the_given_images_at_its_head_and_side(measured, every):
    _, arrays = measured
    grid, truth = arrays["translation_grid"], arrays["translation_truth"]
    assert grid.shape == truth.shape == (7, 7, 3, 32, 32)
    assert (grid[0, 0] == 1).all()
    assert (grid[0] == truth[0]).all()
    assert (grid[:, 0] == truth[:, 0]).all()
    pixels = (every.images.float() / 255).half()

    def where(image):
        return int((pixels == torch.from_numpy(image)).flatten(1).all(1).nonzero()[0])

    for i in range(1, 7):
        for j in range(1, 7):
            place = where(truth[i, j])
            assert every.classes[place] == every.classes[where(grid[i, 0])]
            assert every.contents[place] == every.contents[where(grid[0, j])]
    assert not every.is_seen[where(grid[1, 0])]


def test_few_unseen_classes_and_contents_have_a_smaller_grid():
    """Two unseen classes in two contents are four images."""
    pixels = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 2, 2) * 30
    classes, contents = torch.arange(8) // 2, torch.arange(8) % 2
    train = ImageSet(pixels[:4], classes[:4], "solids", "train", "", "made")
    few = factors.FactorImages(train, pixels, classes, contents, torch.arange(8) < 4, torch.arange(8).view(4, 2))

    class Decoder:
        @staticmethod
        def decoder(latents):  # the code of the class is the class, that of the content is the content
            return (2 * latents[:, 0] + latents[:, 1]).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) * 30 / 255

    codes = codes_of(classes[:, None].float(), contents[:, None].float())
    arrays = translation._grid(Decoder, codes, few)
    grid, truth = arrays["translation_grid"], arrays["translation_truth"]
    assert grid.shape == truth.shape == (5, 5, 1, 2, 2)
    np.testing.assert_array_equal(grid, truth)


# --- pictures and tables


def made_grid():
    return np.random.default_rng(0).random((7, 7, 3, 8, 8)).astype(np.float16)


def test_a_sheet_shows_every_image_where_the_grid_has_it():
    grid = made_grid()
    found = sheet(grid)
    assert found.shape == (3, 7 * 8 + 5 + 3, 7 * 8 + 5 + 3)
    np.testing.assert_allclose(found[:, :8, :8], grid[0, 0])
    np.testing.assert_allclose(found[:, 11:19, 20:28], grid[1, 2])
    assert (found[:, 8:11] == 1).all()
    assert grid_png(grid).startswith(b"\x89PNG")
    assert len(draw_translations(grid, grid).axes) == 2
    assert len(draw_translations(grid, None).axes) == 1


def test_an_archive_keeps_the_grid_and_draws_it(tmp_path):
    grid = made_grid()
    kept = thinning.arrays({"translation_grid": grid, "samples": grid[0], "data": grid[0]}, 0)
    side = thinning.GRID_SIDE
    np.testing.assert_allclose(kept["translation_grid"], grid[:side, :side], atol=0.003)
    assert "translation_grid" not in thinning.arrays({"translation_grid": grid}, len(thinning.PICTURES) - 1)
    (tmp_path / "arrays.npz").write_bytes(thinning.npz(kept))
    result = Result(CELL, tmp_path, "done", archived="from an archive")
    assert "translations.png" in archived.pictures(result)
    shown = {view["name"]: view for view in figure_views(None, result)}
    assert "true images" not in shown["translations.png"]["alt"], "the archive has the grid alone"
    for objective, missing in (("vae", True), ("lord", False)):  # LORD has no prior to sample from
        empty = replace(result, cell=CELL.model_copy(update={"objective": objective}), folder=tmp_path / "empty")
        assert ("samples.png" in {view["name"] for view in figure_views(None, empty)}) == missing


def test_rows_that_saw_labels_stand_apart_and_references_stand_below(monkeypatch, tmp_path):
    references = {"copy of the content image": {"transfer_mse": 0.045, "retrieval_class": 0.0}, "mean image_seen": {}}
    found = []
    for objective in ("vae", "soft-introvae"):
        cell = CELL.model_copy(update={"objective": objective})
        metrics = {"transfer_mse": 0.02, "retrieval_class": 0.1, "leakage_class": 0.4}
        found.append(Result(cell, tmp_path, "done", metrics=metrics, extra={"translation_references": references}))
    monkeypatch.setattr(type(found[1].cell.components[1]), "sees_labels", True)
    made = {table.name: table for table in tables.tables_of(found)}
    assert made.keys() == {"translation", "translation-labels", "translation-codes", "translation-codes-labels"}
    assert [row[0] for row in made["translation"].rows] == ["vae"]
    assert [row[0] for row in made["translation-labels"].rows] == ["soft-introvae"]
    (block,) = tables.references_of(found)
    assert [line["row"] for line in block["lines"]] == ["the true image", "copy of the content image"]
    assert block["lines"][0]["texts"] == ["0", "1"]
    assert block["chance"] == "0.031 for the class, 0.021 for the content"
