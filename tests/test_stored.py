"""Results that an earlier version made (``tests/stored``, by ``tests/store_results.py``) are still results."""

import csv
import json
import math
import shutil
from dataclasses import replace
from numbers import Real
from pathlib import Path

import pytest
import torch
from store_results import FAILED, HANDED_OVER, IMAGES, MID_RUN, MIXTURE, OTHER_SETTINGS, STORED, STUDIES, TO_EVALUATE

import sintro.metrics
from sintro import report
from sintro.__main__ import main
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import METRICS
from sintro.report.numbers import errors, tables
from sintro.report.numbers.results import read_cell, read_history
from sintro.report.numbers.words import show_number
from sintro.report.pages import cell as cell_page
from sintro.runs import results, states
from sintro.runs import stored as stored_files

EXPECTED = json.loads((STORED / "expected" / "cells.json").read_text())
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ON_ONE_THREAD = ("--device", "cpu", "--threads", "1")


@pytest.fixture
def stored(tmp_path, monkeypatch) -> Path:
    """The working folder: a copy of the stored results."""
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SINTRO_RUN", raising=False)
    return folder


def all_cells() -> list[Cell]:
    return [cell for study in STUDIES for cell in studies.load(study).cells()]


def read(cell: str, name: str) -> dict:
    return json.loads(Path(cell, name).read_text())


def test_every_cell_keeps_its_digest_and_is_judged_as_before(stored):
    judged = states.of_cells(all_cells())
    found = {
        cell.path: {"digest": studies.settings(cell).digest, "state": state.name, "reason": state.note}
        for cell, state in judged.items()
    }
    assert found == EXPECTED


def test_the_stored_cells_are_in_every_state_but_running_and_unreadable():
    assert {cell["state"] for cell in EXPECTED.values()} == set(results.STATES) - {"running", "unreadable"}
    assert EXPECTED[FAILED]["state"] == "failed"
    assert EXPECTED[OTHER_SETTINGS]["state"] == results.OTHER
    assert EXPECTED[TO_EVALUATE]["state"] == EXPECTED[HANDED_OVER]["state"] == "to evaluate"


def rows_of_tables():
    """(cells of a row that are done, the row) of every table whose rows are single settings."""
    for path in (*Path("reports").glob("*/tables/table1.csv"), *Path("reports").glob("*/tables/table5.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                axes = (row[name] for name in ("dataset", "objective", "prior", "regularizers"))
                folder = "/".join(("results", path.parts[1], *axes))
                cells = [f"{folder}/seed{seed}" for seed in (0, 1)]
                yield [cell for cell in cells if EXPECTED.get(cell, {}).get("state") == "done"], row


def test_the_pages_show_the_stored_numbers(stored):
    report.build(STUDIES)
    shown = 0
    for done, row in rows_of_tables():
        values = [stored_files.number(read(cell, "metrics.json").get(row["metric"])) for cell in done]
        values = [value for value in values if value is not None]
        assert int(row["n"]) == len(values)
        if values:
            assert float(row["mean"]) == values[0]  # no row has two finished seeds
            shown += 1
    assert shown > 60


def test_the_page_of_a_cell_shows_its_metrics(stored):
    report.build(["stored"])
    page = Path(MIXTURE.replace("results/", "reports/") + ".html").read_text()
    metrics = read(MIXTURE, "metrics.json")
    for name in ("kl_published", "jsd", "gnelbo", "responsibility_entropy", "sliced_w2"):
        assert show_number(metrics[name]) in page


def test_a_metric_that_the_stored_evaluation_lacks_asks_for_another(stored, monkeypatch):
    """A new metric of every 2D cell, one that needs what this cell has, and one that needs what it lacks."""
    new = [replace(METRICS["jsd"], name="new"), replace(METRICS["jsd"], name="of_modes", needs="a prior with modes")]
    new.append(replace(METRICS["jsd"], name="newer", needs="labels"))
    monkeypatch.setattr(sintro.metrics, "METRICS", METRICS | {metric.name: metric for metric in new})
    monkeypatch.setattr(errors, "PLANE", (*errors.PLANE, "new", "of_modes", "newer"))
    for module in (tables, cell_page):
        monkeypatch.setattr(module, "METRICS", sintro.metrics.METRICS)
    report.build(["stored"])
    rows = csv.DictReader(Path("reports/stored/tables/errors.csv").read_text().splitlines())
    said = {row["metric"]: (row["note"], row["n"]) for row in rows if row["prior"] == "mog4-learned-lc"}
    assert said["new"] == ("evaluate again", "0")
    assert said["of_modes"] == ("evaluate again", "0")
    assert said["newer"] == ("", "0")
    assert said["coverage"] == ("", "1")
    cell = Cell.from_path(MIXTURE)
    views = {view["name"]: view["value"] for view in cell_page.metric_views(read_cell(cell), {})}
    assert views["new"] == "evaluate again"
    assert "newer" not in views


@pytest.mark.parametrize("cell", [MIXTURE, IMAGES])
def test_the_pictures_of_a_stored_cell_are_drawn(stored, cell):
    report.draw_cell(Path(cell))
    drawn = {path.name for path in Path(cell).glob("*.png")}
    expected = {"history.png", "latent.png", "samples.png", "ood.png"}
    assert expected | ({"responsibilities.png"} if cell == IMAGES else {"density.png"}) <= drawn


@pytest.mark.slow
@pytest.mark.parametrize("cell", [MIXTURE, IMAGES])
def test_a_stored_model_gives_the_stored_metrics(stored, cell):
    before = read(cell, "metrics.json")
    assert main(["evaluate", cell, *ON_ONE_THREAD]) == 0
    after = read(cell, "metrics.json")
    assert after.keys() >= before.keys()
    for name, value in before.items():
        if name == "evaluated":
            continue
        # A Frechet distance in a classifier's features: evaluation trains that classifier, and training amplifies what
        # another processor rounds otherwise (1.2e-5 was seen).
        close = 1e-4 if name.startswith("cfid") else 1e-5
        if isinstance(value, Real) and math.isfinite(value):
            assert after[name] == pytest.approx(value, rel=close, abs=1e-9), name
        elif name.endswith("_over_iterations"):
            assert after[name] == pytest.approx(value, rel=close), name
        elif name == "metric_versions":  # there may be new metrics
            assert after[name].items() >= value.items()
        else:
            assert after[name] == value, name


def test_a_stored_checkpoint_ends_as_the_run_that_was_not_stopped(stored):
    assert main(["train", MID_RUN, *ON_ONE_THREAD]) == 0
    assert read(MID_RUN, "provenance.json")["resumed"] == 1
    found, expected = (
        torch.load(path, weights_only=True) for path in (f"{MID_RUN}/model.pt", "expected/resumed-model.pt")
    )
    for part in ("parameters", "buffers", "bounds"):
        torch.testing.assert_close(found[part], expected[part], **CLOSE)
    histories = (
        Path(path).read_text().splitlines() for path in (f"{MID_RUN}/history.csv", "expected/resumed-history.csv")
    )
    (_, *rows), (_, *expected_rows) = histories
    for row, other in zip(rows, expected_rows, strict=True):
        numbers, others = ([float(field or "nan") for field in line.split(",")] for line in (row, other))
        assert numbers == pytest.approx(others, rel=1e-3, abs=1e-5, nan_ok=True)


def test_what_a_stored_fleet_handed_over_is_accepted(stored):
    model = Path(HANDED_OVER, "model.pt").read_bytes()
    assert main(["train", HANDED_OVER, *ON_ONE_THREAD]) == 0
    assert Path(HANDED_OVER, "provenance.json").exists()
    assert Path(HANDED_OVER, "model.pt").read_bytes() == model
    assert main(["evaluate", HANDED_OVER, *ON_ONE_THREAD]) == 0
    assert results.judge(Cell.from_path(HANDED_OVER)).state == "done"


def test_a_search_finds_what_it_found(stored):
    file = Path("results/stored-search/chosen.json")
    before = file.read_text()
    assert main(["choose", "stored-search"]) == 0
    assert file.read_text() == before


def test_an_older_history_is_read_under_the_names_of_today(stored):
    assert "responsibility_entropy" in Path(MIXTURE, "history.csv").read_text().splitlines()[0]
    found = read_history(Path(MIXTURE, "history.csv"), {"entropy_nats"})["entropy_nats"]
    assert 0 < found[-1] <= math.log(4)


def test_older_arrays_are_read_under_the_names_of_today(stored):
    found = stored_files.read_arrays(Path(IMAGES, "arrays.npz"), {stored_files.MEAN_RESPONSIBILITIES})
    assert found[stored_files.MEAN_RESPONSIBILITIES].sum(-1) == pytest.approx(1)
