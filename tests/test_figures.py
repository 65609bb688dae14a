"""The pictures of a cell and of a study: drawn from arrays alone, whole, small, and oriented as the axes say."""

import io
import json
import subprocess
import sys
from pathlib import Path

import made_cells
import numpy as np
import pytest
from PIL import Image

from sintro import SintroError
from sintro.cells.cell import Cell
from sintro.cells.components import datasets
from sintro.report.figures import captions, image_cell, latent, maps, samples, study, style
from sintro.report.figures import cell as cell_figures
from sintro.report.numbers.results import Result, read_history
from sintro.report.numbers.tables import Measure, make_table

DENSITIES = tuple(datasets("2d"))


def cell(**changes) -> Cell:
    given = {"study": "table1", "dataset": "rings", "objective": "soft-introvae", "prior": "mog64-learned-lc"}
    return Cell(**(given | {"regularizers": "clip", "seed": 0} | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return made_cells.write_cell(tmp_path_factory.mktemp("results"), cell())


def test_a_cell_gets_its_five_pictures(folder):
    paths = cell_figures.draw_cell(folder)
    assert {path.name for path in paths} == set(cell_figures.CELL_FIGURES)
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert min(image.size) >= 200
        assert path.stat().st_size < 100_000
    assert not list(folder.glob(".*"))  # nothing half-written is left behind


def test_drawing_again_gives_the_same_bytes(folder):
    cell_figures.draw_cell(folder)
    before = {name: (folder / name).read_bytes() for name in cell_figures.CELL_FIGURES}
    cell_figures.draw_cell(folder)
    assert before == {name: (folder / name).read_bytes() for name in cell_figures.CELL_FIGURES}


def test_figures_import_no_torch():
    code = "import sys, sintro.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_standard_normal_and_a_vae_are_drawn_too(tmp_path):
    made = made_cells.write_cell(tmp_path, cell(objective="vae", prior="normal", regularizers="none"))
    assert len(cell_figures.draw_cell(made)) == 5


def test_a_diverged_cell_has_its_history_only(tmp_path):
    made = made_cells.write_cell(tmp_path, cell(), diverged_at=77)
    (made / "arrays.npz").unlink(missing_ok=True)
    assert [path.name for path in cell_figures.draw_cell(made)] == ["history.png"]


def test_not_finite_numbers_are_drawn_as_far_as_they_go(tmp_path):
    made = made_cells.write_cell(tmp_path, cell())
    with np.load(made / "arrays.npz") as stored:
        arrays = dict(stored)
    arrays["samples"][:10] = np.nan
    arrays["energy"][:5] = np.inf
    arrays["latent"][3] = np.inf
    np.savez(made / "arrays.npz", **arrays)
    assert len(cell_figures.draw_cell(made)) == 5


def test_images_are_drawn_as_sheets_and_latents_along_their_principal_axes(tmp_path):
    made = made_cells.write_cell(tmp_path, cell(dataset="rings"))
    rng = np.random.default_rng(0)
    record = (made / "cell.json").read_text().replace('"rings"', '"digits"')
    (made / "cell.json").write_text(record)
    np.savez(
        made / "arrays.npz", data=rng.random((20, 1, 16, 16)), samples=rng.random((20, 3, 16, 16)),
        latent=rng.normal(size=(200, 16)), labels=rng.integers(0, 10, 200), prior_means=rng.normal(size=(10, 16)),
        prior_log_vars=np.zeros((10, 16)), prior_weights=np.full(10, 0.1),
    )  # fmt: skip
    names = {path.name for path in cell_figures.draw_cell(made)}
    assert names == {"data.png", "samples.png", "latent.png", "history.png"}
    np.savez(
        made / "arrays.npz", data=rng.random((20, 1, 16, 16)), reconstructions=rng.random((20, 1, 16, 16)),
        mode_images=rng.random((10, 1, 16, 16)), codes=rng.normal(size=(200, 16)),
        code_labels=rng.integers(0, 10, 200),
    )  # fmt: skip
    names = {path.name for path in cell_figures.draw_cell(made)}
    assert names == {"data.png", "reconstructions.png", "mode_images.png", "latent.png", "history.png"}
    assert not (made / "samples.png").exists()  # its numbers are gone


def test_the_real_images_of_a_cell_are_called_test_images():
    """The evaluation keeps images of the test split (sintro/evaluation/images.py), in data.png as in the pairs."""
    assert captions.OF_IMAGES["data.png"] == "Test images"
    assert "test images" in captions.OF_IMAGES["reconstructions.png"]


def test_an_image_cell_gets_pairs_modes_responsibilities_and_distances(tmp_path):
    made = made_cells.write_cell(tmp_path, cell(dataset="rings"))
    rng = np.random.default_rng(0)
    record = json.loads((made / "cell.json").read_text())
    record["cell"]["dataset"] = "digits"
    record["settings"] |= {"epochs": 10.0, "iterations": 120}
    (made / "cell.json").write_text(json.dumps(record))
    scores = {"status": "done", "cfid_over_iterations": {"0": 9.0, "60": 4.0, "120": 5.0}, "selected_iteration": 60}
    (made / "metrics.json").write_text(json.dumps(scores))
    weights = np.linspace(0.3, 0.01, 12)
    arrays = {
        "data": rng.random((20, 3, 16, 16)), "reconstructions": rng.random((20, 3, 16, 16)),
        "samples": rng.random((20, 3, 16, 16)), "mode_images": rng.random((12, 3, 16, 16)), "mode_weights": weights,
        "mode_samples": rng.random((8, 8, 3, 16, 16)), "responsibility_iterations": np.array([0, 60, 120]),
        "mean_responsibilities": rng.dirichlet(np.ones(12), 3),
    }  # fmt: skip
    np.savez(made / "arrays.npz", **arrays)
    expected = {"data", "reconstructions", "samples", "mode_images", "mode_samples", "responsibilities", "distances"}
    paths = cell_figures.draw_cell(made)
    assert {path.stem for path in paths} == expected | {"history"}
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) >= 200
    drawn = image_cell.drawn(arrays, record, scores)
    (axes,) = drawn["distances.png"]().axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 5, 10])  # epochs, not iterations
    assert axes.lines[1].get_xdata() == [5], "the selected one"
    titles = [axes.get_title() for axes in drawn["mode_images.png"]().axes]
    assert titles[:12] == [f"{weight:.3f}" for weight in weights]
    assert list(
        image_cell.drawn(arrays | {"mean_responsibilities": arrays["mean_responsibilities"][:, :1]}, record, scores)[
            "responsibilities.png"
        ]().axes
    )
    (made / "arrays.npz").unlink()
    (made / "metrics.json").unlink()
    assert {path.stem for path in cell_figures.draw_cell(made)} == {"history"}


def test_under_each_image_is_its_reconstruction_and_their_squared_error():
    data, reconstructions = np.full((20, 1, 4, 4), 0.25), np.full((20, 1, 4, 4), 0.75)
    reconstructions[1] = 0.25
    axes = image_cell.draw_reconstructions(data, reconstructions).axes
    assert len(axes) == 16, "the first 16 by index"
    pair = axes[0].images[0].get_array()
    assert pair.shape == (4 + 1 + 4, 4)
    assert (pair[:4] == 0.25).all()
    assert (pair[5:] == 0.75).all()
    assert [each.get_xlabel() for each in axes[:3]] == ["4", "0", "4"]  # 16 pixels, each wrong by a half


def test_copies_classes_and_ways_are_drawn_from_their_arrays():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 16, 3, 8, 8), dtype=np.uint8)
    counts = np.array([[9, 1, 0], [0, 0, 0], [2, 2, 4]])
    arrays = {
        "nearest_samples": pictures[0], "nearest_training": pictures[1], "nearest_ratios": np.linspace(0, 1.5, 16),
        "class_shares": np.array([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]]), "mode_classes": counts,
        "interpolations": rng.integers(0, 256, (2, 4, 8, 3, 8, 8), dtype=np.uint8),
        "interpolation_elbos": rng.normal(size=(2, 4, 8)),
    }  # fmt: skip
    drawn = image_cell.drawn(arrays, {}, {})
    assert set(drawn) == {"nearest.png", "class_shares.png", "mode_classes.png", "interpolations.png"}
    assert set(drawn) < set(captions.CAPTIONS)
    pairs = drawn["nearest.png"]().axes
    assert [pairs[place].get_xlabel() for place in (0, 15)] == ["0", "1.5"]
    np.testing.assert_allclose(pairs[3].images[0].get_array()[-8:], pictures[1, 3].transpose(1, 2, 0) / 255, rtol=1e-6)
    heights = [bar.get_height() for bar in drawn["class_shares.png"]().axes[0].patches]
    assert heights == pytest.approx([50, 25, 25, 20, 40, 40])
    shares = drawn["mode_classes.png"]().axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[90, 10, 0], [0, 0, 0], [25, 25, 50]])
    ways = drawn["interpolations.png"]().axes
    assert len(ways) == 4 * 3
    np.testing.assert_allclose(ways[0].lines[1].get_ydata(), arrays["interpolation_elbos"][1, 0])
    strip = ways[2].images[0].get_array()
    np.testing.assert_allclose(strip[:, 8:16], arrays["interpolations"][1, 0, 1].transpose(1, 2, 0) / 255, rtol=1e-6)


def test_truncated_arrays_are_a_clear_error(tmp_path):
    made = made_cells.write_cell(tmp_path, cell())
    content = (made / "arrays.npz").read_bytes()
    (made / "arrays.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SintroError, match=r"arrays\.npz"):
        cell_figures.draw_cell(made)
    assert maps.load_arrays(made, ["energy"]) == {}


def test_the_plotted_range_is_that_of_the_densities():
    from sintro.data.densities import density

    assert {name: density(name).half_width for name in DENSITIES} == {
        name: datasets()[name].half_width for name in DENSITIES
    }


def test_relative_density_peaks_at_one_and_survives_nan():
    energy = np.array([[3.0, 1.0], [np.nan, np.inf]])
    assert style.relative_density(energy) == pytest.approx(np.array([[np.exp(-2), 1.0], [0.0, 0.0]]))
    assert not style.relative_density(np.full((2, 2), np.nan)).any()


def test_mean_responsibilities_against_scipy():
    from scipy.special import softmax
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    z, means, log_vars = rng.normal(size=(50, 2)), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    weights = np.array([0.2, 0.5, 0.3])
    log_joint = norm.logpdf(z[:, None], means, np.exp(log_vars / 2)).sum(-1) + np.log(weights)
    expected = softmax(log_joint, axis=-1).mean(0)
    assert latent.mean_responsibilities(z, means, log_vars, weights) == pytest.approx(expected)


def test_the_map_is_upright():
    """Energies come with axes (x1, x2): a low one at large x1 and small x2 is bright at the bottom right."""
    energy = np.full((64, 64), 50.0)
    energy[60:, :4] = 0.0
    with Image.open(io.BytesIO(maps.map_png(style.relative_density(energy), 64))) as image:
        bright = np.asarray(image.convert("L")) > 128
    rows, columns = np.nonzero(bright)
    assert rows.min() > 55
    assert columns.min() > 55
    points = np.tile([3.5, -3.5], (100, 1))
    found = maps.data_map(points, 4.0)
    assert np.unravel_index(found.argmax(), found.shape)[0] > 100  # large x1
    assert np.unravel_index(found.argmax(), found.shape)[1] < 20  # small x2


@pytest.mark.parametrize("name", [style.LABEL_MAP, style.DENSITY_MAP])
def test_colour_maps_keep_their_order_in_grey(name):
    from matplotlib import colormaps

    grey = colormaps[name](np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > -0.002).all()
    assert grey[-1] - grey[0] > 0.5


def test_history_is_read_with_gaps_and_thinned(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("iteration,phase,kl_fake\n" + "".join(f"{i},0,\n" for i in range(5000)) + "5000,1,2.5\n")
    history = read_history(path, most_rows=100)
    assert len(history["iteration"]) <= 101
    assert history["iteration"][-1] == 5000
    assert np.isnan(history["kl_fake"][0])
    assert history["kl_fake"][-1] == 2.5


@pytest.mark.parametrize("text", ["", "step,loss\n1,2\n", "iteration,loss\n1,tall\n", "iteration,loss\n1,2\n3"])
def test_a_broken_history_is_a_clear_error(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(SintroError, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")


def test_vector_pictures_take_the_page_colour_and_describe_themselves():
    svg = study.draw_ranks({'a "<b>': {"x": 1.0, "y": 2.0}, "c": {"x": 2.0, "y": 1.0}}, 'ranks of "<b>" & c')
    assert svg.startswith("<svg ")
    assert 'role="img"' in svg
    assert "currentColor" in svg
    assert "<b>" not in svg
    assert style.INK not in svg


def test_bands_stand_seeds_of_different_length():
    long = {"iteration": np.arange(100.0), "kl_real": np.ones(100)}
    short = {"iteration": np.arange(10.0), "kl_real": np.zeros(10)}
    empty = {"iteration": np.zeros(0)}
    assert "<svg" in study.draw_band({0: long, 1: short, 2: empty}, {"kl_real": "KL", "nothing": "no"}, "d")


@pytest.mark.parametrize("shape", [(12, 1, 1, 6000), (12, 1, 6000, 1)])
def test_long_thin_images_are_not_enlarged(shape):
    with Image.open(io.BytesIO(samples.strip_png(np.zeros(shape)))) as strip:
        assert strip.size == (12 * (shape[3] + samples.GAP), shape[2])


def test_every_row_of_the_ranks_is_named_where_its_line_ends():
    drawn = study.draw_ranks({"whole": {"a": 1, "b": 2}, "short": {"a": 2}, "late": {"b": 1}}, "ranks")
    assert [drawn.count(f">{row}<") for row in ("whole", "short", "late")] == [1, 1, 1]


@pytest.mark.parametrize("datasets", [1, 2, 4])
def test_the_names_of_ranked_rows_end_inside_the_picture(datasets, monkeypatch):
    rows = [f"soft-introvae · mog{k}-learned-lc · clip-resp{k}" for k in (1, 10, 100)] + ["vae · vamp100-lc"]
    ranks = {row: {f"data {i}": place for i in range(datasets)} for place, row in enumerate(rows, 1)}
    drawn = []

    def measured(figure, described):
        figure.canvas.draw()
        drawn.extend(text.get_window_extent().x1 for text in figure.axes[0].texts)
        drawn.append(figure.bbox.width)

    monkeypatch.setattr(study, "to_svg", measured)
    study.draw_ranks(ranks, "ranks")
    *ends, width = drawn
    assert len(ends) == len(rows)
    assert max(ends) < width


def test_lines_against_r_name_the_objectives_that_they_are_of():
    found = []
    for objective in ("soft-introvae", "soft-introvae-rec1-kl1-neg1"):
        for regularizers in ("resp1", "resp10"):
            one = cell(dataset="fmnist", objective=objective, prior="mog10-fixed", regularizers=regularizers)
            found.append(Result(one, Path(), "done", metrics={"fid_published": 1.0}))
    measure = Measure("fid_published", "fid")
    for results, named in ((found, 1), (found[:2], 0)):
        (picture,) = study.against_weight(make_table("table5", "", results, [measure]), measure)
        assert picture["svg"].count(">soft-introvae · mog10-fixed<") == named


def test_the_study_figure_has_a_place_for_every_row_and_column():
    panels = {("rings", "data"): np.eye(8)}
    content = maps.draw_grid(panels, ["rings", "spirals"], ["data", "vae normal"])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size[0] > 200
