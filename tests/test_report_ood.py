"""Out-of-distribution detection in the report: a histogram per cell, a table per kind of outlier for a study."""

import io
import json
from pathlib import Path

import made_cells
import numpy as np
import pytest
from PIL import Image

from sintro import report
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import METRICS, OOD_SCORES
from sintro.report.figures.cell import CELL_FIGURES
from sintro.report.figures.detection import ood_figure
from sintro.report.numbers import claim_files, claims, detection
from sintro.report.numbers.results import Result, read_cells

RNG = np.random.default_rng(1)


def scores(*kinds, size=200) -> dict[str, np.ndarray]:
    return {
        f"ood_{kind}_{score}": RNG.normal(-3.0 * i, 1 + i, size).astype(np.float32)
        for i, kind in enumerate(("inside", *kinds))
        for score in OOD_SCORES
    }


def planted(cell: Cell, metrics: dict) -> dict:
    found = {name: 0.8 for name in METRICS if name.startswith("ood_uniform")}
    return metrics | (found if cell.dataset == "rings" else {})


@pytest.fixture
def folder(tmp_path) -> Path:
    cell = Cell(study="t", dataset="rings", objective="vae", prior="normal", regularizers="none", seed=0)
    made = made_cells.write_cell(tmp_path, cell)
    np.savez(made / "arrays.npz", **made_cells.made_arrays(cell), **scores("uniform"))
    return made


def test_a_cell_with_scores_gets_their_histograms(folder):
    assert {path.name for path in report.draw_cell(folder)} == {*CELL_FIGURES, "ood.png"}
    first = (folder / "ood.png").read_bytes()
    report.draw_cell(folder)
    assert (folder / "ood.png").read_bytes() == first
    with Image.open(io.BytesIO(first)) as image:
        assert image.size[0] > 600
    np.savez(folder / "arrays.npz", data=np.zeros((5, 2)))
    report.draw_cell(folder)
    assert not (folder / "ood.png").exists()  # its numbers are gone


def test_the_histograms_hold_every_datum_and_name_what_they_leave_out():
    arrays = scores("inverted", "noise")
    arrays["ood_noise_kl"][:7] = -np.inf
    arrays["ood_inverted_elbo"] -= 1e4  # far off: in the outermost bin
    arrays["ood_inside_reconstruction"][:] = -1.0
    arrays["ood_inverted_reconstruction"][:] = arrays["ood_noise_reconstruction"][:] = -1.0
    figure = ood_figure(arrays)
    for axes in figure.axes:
        assert [patch.get_data().values.sum() for patch in axes.patches] == pytest.approx([1, 1, 1])
    names = [text for axes in figure.axes for text in axes.get_legend_handles_labels()[1]]
    assert "pixels shuffled, 7 not finite" in names
    assert ood_figure({name: np.full(3, np.nan) for name in arrays}).axes


def test_the_table_has_the_data_sets_with_outliers_only(tmp_path):
    cells = made_cells.grid(datasets=("8gaussians", "rings"), seeds=range(2))
    made_cells.write_cells(tmp_path, cells, values=planted, arrays=False)
    Path(tmp_path, *Path(cells[-1].path).parts[1:], "metrics.json").unlink()
    table = detection.tables_of(read_cells(cells, tmp_path))
    assert [t.name for t in table] == ["ood-uniform"]
    assert table[0].datasets == ("rings",)
    assert len(table[0].results) == len(cells) / 2  # the one without a number is counted
    assert table[0].measures[0].label("standard") == "AUROC (ELBO, off support)"
    assert detection.tables_of([]) == []


def test_the_shipped_claim_holds_where_detection_is_planted(repository):
    shipped = claim_files.load(repository / "workflow" / "claims.yaml")
    verdicts, rng = [], np.random.default_rng(2)
    for mean in (0.8, 0.5, 0.2):
        results = [
            Result(cell, Path(cell.path), "done", metrics={"ood_uniform_elbo_auroc": rng.normal(mean, 0.05)})
            for cell in made_cells.grid()
        ]
        verdicts.append(claims.judge(shipped["C9"], results).verdict)
    assert verdicts == ["supported", "inconclusive", "contradicted"]
    better = [
        Result(r.cell, r.folder, "done", metrics={"ood_uniform_elbo_auroc": 0.9 if "learned" in r.cell.prior else 0.6})
        for r in results
    ]
    for result in better:
        result.metrics["ood_uniform_elbo_auroc"] += rng.normal(0, 0.02)
    assert claims.judge(shipped["C9-prior"], better).verdict == "supported"


def test_the_study_and_the_cell_pages_show_detection(write_study):
    write_study(
        "small", "title: S\nseeds: [0, 1]\ncells:\n  - {datasets: [rings], objectives: [vae], priors: [normal]}\n"
    )
    cells = studies.load("small").cells()
    folders = made_cells.write_cells("results", cells, values=planted, arrays=False)
    metrics = json.loads((folders[0] / "metrics.json").read_text())
    metrics |= {"ood_intervals": {"uniform_elbo_auroc": [0.71, 0.89]}, "ood_missing": "no images of <svhn>"}
    (folders[0] / "metrics.json").write_text(json.dumps(metrics))
    report.build(["small"])
    study = Path("reports/small/index.html").read_text()
    assert 'id="ood-uniform"' in study
    assert "chance is 0.5" in study
    assert Path("reports/small/tables/ood-uniform.csv").is_file()
    page = Path("reports/small/rings/vae/normal/none/seed0.html").read_text()
    assert "uniform_elbo_auroc: 0.71, 0.89" in page
    assert "no images of &lt;svhn&gt;" in page
