"""The tables of metrics that the papers do not have, what is best where 1/2 is, and the floors of images."""

import csv
import json
import math
from pathlib import Path

import made_cells
import pytest

from sintro import SintroError, report
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import NOT_MEASURED, noise
from sintro.metrics.definitions_checks import CHECKS
from sintro.report.numbers import claim_files, errors, exports, results, tables
from sintro.report.numbers import study as study_numbers
from sintro.report.pages.cell import metric_views
from sintro.report.pages.tables import comparisons_view, table_view

STUDY = """
title: A small study
comparable: true
seeds: [0, 1, 2, 3]
cells:
  - {datasets: [rings], objectives: [vae, soft-introvae], priors: [normal]}
  - {datasets: [mnist], objectives: [vae, soft-introvae], priors: [normal]}
"""
CLAIM = """
claims:
  T1:
    title: A claim
    source: ours
    contrasts:
      - {name: one, metric: one_nna, expect: lower, a: {objective: vae}, b: {objective: soft-introvae}}
"""
VAE, SOFT = ("vae", "normal", "none"), ("soft-introvae", "normal", "none")


@pytest.fixture
def small(write_study) -> tuple[Cell, ...]:
    write_study("small", STUDY)
    return studies.load("small").cells()


def made_tables(cells) -> dict[str, tables.Table]:
    found = results.read_cells(cells)
    floors = errors.floors_of(found)
    read = study_numbers.StudyReport(studies.load("small"), "small", found, Path("results"))
    return {table.name: table for table in [*study_numbers.tables_of(read, floors), *errors.tables_of(found, floors)]}


def copies(cell, metrics):
    """A VAE that copies the data, 1-NN accuracy .3, against models at .58: the latter are closer to 1/2."""
    if "one_nna" in metrics:
        metrics["one_nna"] = (0.3 if cell.objective == "vae" else 0.58) + 0.001 * cell.seed
    return metrics


def test_where_a_half_is_best_copies_are_not(small):
    made_cells.write_cells("results", small, values=copies)
    table = made_tables(small)["errors"]
    for form in tables.FORMS:
        assert table.top["rings", "one_nna", form] == SOFT
        assert table.best["rings", "one_nna", form] == {SOFT}
    shown = table_view(table, lambda entry: "")
    assert shown["measures"][-1]["arrows"] == ["→ 0.5", "→ 0.5"]
    assert shown["measures"][-1]["forms"][0]["direction"] == "closer to 0.5 is better"
    block = next(c for c in comparisons_view(table) if c["measure"].startswith("1-NN"))
    assert (block["measure"], block["best"]) == ("1-NN accuracy, distance from 0.5", "soft-introvae · normal")
    assert float(block["lines"][0]["difference"]) == pytest.approx(0.117)


def test_each_kind_of_data_has_its_table_with_its_floor(small):
    made_cells.write_cells("results", small)
    made = made_tables(small)
    assert [*made] == [
        "table1",
        "table5",
        "errors",
        "errors-images",
        "checks-images",
        "selection-images",
        "dinov2-images",
    ]
    assert [measure.published for measure in made["selection-images"].measures] == ["fid_published", "fid_optimism"]
    assert {view["name"] for view in metric_views(results.read_cell(small[-1]), {})} >= {"fid_optimism"}
    assert [m.published for m in made["errors"].measures] == [*errors.PLANE]
    assert [m.published for m in made["errors-images"].measures][:3] == ["kid", "fid_test", "kid_test"]
    assert {m.metric(form).form for m in made["errors"].measures for form in tables.FORMS} == {"standard"}
    assert all(made["errors"].floor_text("rings", m, "standard") for m in made["errors"].measures)
    fid = made["table5"].measures[1]
    assert [float(made["table5"].floor_text("mnist", fid, form)) for form in tables.FORMS] == [3.5, 3.5]
    assert made["table5"].floor_text("mnist", made["table5"].measures[2], "standard") == ""  # of reconstructions
    kid = made["errors-images"].measures[0]
    assert float(made["errors-images"].floor_text("mnist", kid, "standard")) == pytest.approx(0.002)
    assert made["table1"].floor_kind == made["errors"].floor_kind == "2d"
    assert made["table5"].floor_kind == made["errors-images"].floor_kind == "images"
    assert made["checks-images"].floor_kind == "checks"
    assert (made["errors"].forms, made["table1"].forms) == (("published",), tables.FORMS)
    lines = list(csv.DictReader(exports.to_csv(made["errors"]).splitlines()))
    assert {line["form"] for line in lines} == {"standard"}
    assert len({(line["dataset"], line["objective"], line["prior"], line["metric"]) for line in lines}) == len(lines)
    assert "floor (training images, half against half)" in exports.to_markdown(made["table5"], "standard")
    assert [*made["table1"].measures] == [*tables.TABLE1]


def test_references_that_differ_give_their_floor_a_spread(small):
    made_cells.write_cells("results", small, values=lambda cell, m: m | {"fid_floor": 2.0 + cell.seed % 2})
    table = made_tables(small)["table5"]
    mean, spread = table.floors["mnist"]["fid"]
    assert (mean, spread) == (2.5, pytest.approx(0.707, abs=1e-3))
    assert " ± " in table.floor_text("mnist", table.measures[1], "standard")


def test_evaluations_of_before_stay_readable(small):
    """Without these metrics there is no table of them and no floor row of images; with some, cells are counted."""
    added = {metric.name for metric in CHECKS} | {*errors.PLANE, *errors.DINOV2}
    endings = ("kid", "kid_sd", "_test", "_infinity", "_infinity_se", "_optimism")

    def older(cell, metrics):
        kept = {name: value for name, value in metrics.items() if name not in added and "_floor" not in name}
        return {name: value for name, value in kept.items() if not name.endswith(endings)}

    made_cells.write_cells("results", small, values=older)
    made = made_tables(small)
    assert [*made] == ["table1", "table5"]
    assert made["table5"].floor_kind == ""
    report.build(["small"])
    page = Path("reports/small/index.html").read_text()
    assert "data against data" not in page
    made_cells.write_cells("results", small[1:2])
    table = made_tables(small)["errors"]
    assert table.text(VAE, "rings", table.measures[0], "standard", "published").endswith("(n = 1)")
    assert table.text(SOFT, "rings", table.measures[0], "standard", "published") == "evaluate again"
    assert f"rings,{','.join(SOFT)},evaluate again,standard,sliced_w2," in exports.to_csv(table)
    views = {view["name"]: view["value"] for view in metric_views(results.read_cell(small[4]), {})}
    assert views["sliced_w2"] == "evaluate again"


def test_the_measurement_noise_is_a_line_of_its_own(small):
    """Of the cells that measured it, pooled; differences that are smaller are grey; no spread over seeds has it."""
    deviations = {"vae": 0.03, "soft-introvae": 0.04}

    def measured(cell, metrics):
        return metrics | ({"sliced_w2": 0.5 + 0.01 * (cell.objective == "vae")} if "sliced_w2" in metrics else {})

    made_cells.write_cells("results", small, values=measured)
    for cell in small[::4]:
        path = Path(cell.path, "metrics.json")
        stored = json.loads(path.read_text()) | {noise.NOISE: {"sliced_w2": deviations[cell.objective], "kl": "nan"}}
        path.write_text(json.dumps(stored))
    table = made_tables(small)["errors"]
    column = table.measures[0]
    assert table.noise == {"rings": {"sliced_w2": pytest.approx(math.sqrt((0.03**2 + 0.04**2) / 2))}}
    assert table.noise_text("rings", column, "standard").startswith("± 0.035")
    assert table.noise_text("rings", table.measures[1], "standard") == ""
    block = next(block for block in comparisons_view(table) if block["measure"] == "sliced W2")
    assert [line["noise"] for line in block["lines"]] == ["smaller than the measurement noise, 0.035"]
    assert "measurement noise" in exports.to_markdown(table, "standard").splitlines()[-1]
    assert exports.to_latex(table, "standard").count(r"\midrule") == 2
    lines = list(csv.DictReader(exports.to_csv(table).splitlines()))
    assert {bool(line["measurement_noise"]) for line in lines if line["metric"] == "sliced_w2"} == {True}
    report.build(["small"])
    page = Path("reports/small/index.html").read_text()
    assert '<td class="noise" title="smaller than the measurement noise, 0.035">0.01</td>' in page
    assert page.count('<th scope="row">measurement noise</th>') == 1
    assert "± 0.03" in Path(f"reports/{small[0].path.removeprefix('results/')}.html").read_text()


def test_what_an_older_evaluation_did_not_measure_is_asked_for_and_what_todays_could_not_is_explained(small):
    """A number, a reason, or "evaluate again": never an empty cell."""
    added = {"authenticity", "authenticity_floor", "psnr", "fid_infinity", "fid_infinity_se", "mode_purity"}
    reasons = {"fid_infinity": "fewer than 10,000 images", "mode_purity": "no <b>modes</b>"}

    def measured(cell, metrics):
        metrics = {name: value for name, value in metrics.items() if name not in added}
        return metrics | ({NOT_MEASURED: reasons} if cell.objective == "vae" else {})

    made_cells.write_cells("results", small, values=measured)
    found = {result.cell.objective: result for result in results.read_cells(small) if result.kind == "images"}
    assert set(found["soft-introvae"].absent) == added
    assert set(found["vae"].absent) == added - set(reasons)
    shown = {objective: {view["name"]: view["value"] for view in metric_views(each, {})}
             for objective, each in found.items()}  # fmt: skip
    assert [shown[objective]["psnr"] for objective in shown] == ["evaluate again"] * 2
    assert shown["vae"]["fid_infinity"] == "not measured: fewer than 10,000 images"
    assert shown["soft-introvae"]["fid_infinity"] == "evaluate again"
    made = made_tables(small)
    texts = {
        (name, row): made[name].text(
            row, "mnist", next(m for m in made[name].measures if m.standard == metric), "standard", "t95"
        )
        for name, metric in (("errors-images", "fid_infinity"), ("checks-images", "mode_purity"))
        for row in (VAE, SOFT)
    }
    assert [*texts.values()] == [
        "not measured: fewer than 10,000 images", "evaluate again", "not measured: no <b>modes</b>", "evaluate again",
    ]  # fmt: skip
    report.build(["small"])
    page = Path("reports/small/index.html").read_text()
    assert "not measured: no &lt;b&gt;modes&lt;/b&gt;" in page
    assert "<b>modes" not in page


def test_pages_show_the_tables_and_a_cell_its_floors(small):
    made_cells.write_cells("results", small)
    report.build(["small"])
    page = Path("reports/small/index.html").read_text()
    assert "A part that is twice as heavy raises sliced W2 and energy distance." in page
    for words in ("a metric for each kind of error", "floor: data against data", "floor: a perfect model"):
        assert words in page
    assert 'name="form-table1"' in page
    assert 'name="form-errors"' not in page
    assert "<b>standard</b> (<code>sliced_w2</code>)" in page
    assert "purity of modes, floor: Purity of modes of the same images" in page
    assert Path("reports/small/tables/errors.md").is_file()
    cell = next(cell for cell in small if cell.dataset == "mnist")
    found = results.read_cell(cell)
    shown = {view["name"]: view for view in metric_views(found, errors.floors_of([found])["mnist"])}
    assert (shown["fid"]["floor"], shown["kid"]["floor"], shown["recall"]["floor"]) == ("3.5", "0.002", "")


def test_a_claim_on_a_metric_whose_best_is_a_half_is_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    with pytest.raises(SintroError, match=r"one_nna is best at 0\.5, so neither lower nor higher is better"):
        claim_files.load(path)
