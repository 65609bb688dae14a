"""Stability over a grid of hyper-parameters in the report: the numbers, the marks, and when there is no section."""

import io
import math
import re
from pathlib import Path

import made_cells
import numpy as np
import pandas as pd
import pytest

from sintro import report
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.report.figures import stability as figures
from sintro.report.numbers import stability
from sintro.report.numbers.results import read_cells
from sintro.report.pages.stability import stability_view

STUDY = """
title: A grid
description: For tests.
comparable: false
length: 1/10
seeds: [0, 1]
cells:
  - datasets: [8gaussians, rings]
    objectives: [vae]
    priors: [normal]
    betas: {rec: [0.2, 1], kl: [0.1, 0.3]}
  - datasets: [8gaussians, rings]
    objectives: [introvae]
    priors: [normal]
    betas: {rec: [0.2, 1], kl: [0.1, 0.3], neg_times_kl: [1, 5], margin: [1, 20]}
"""
FATES = {
    "introvae-rec0.2-kl0.1-neg1-margin20": "diverged",
    "introvae-rec1-kl0.1-neg1-margin20": "collapsed",
    "introvae-rec1-kl0.3-neg1-margin20": "missing",
    "introvae-rec1-kl0.3-neg5-margin20": "nan",
}


def fate(cell: Cell) -> str:
    """What becomes of the planted cells, which are all on rings: of seed 1 only, but both seeds of one diverge."""
    planted = FATES.get(cell.objective, "done") if cell.dataset == "rings" else "done"
    return planted if cell.seed == 1 or planted == "diverged" else "done"


def planted(cell: Cell, metrics: dict) -> dict:
    factor = (cell.betas.kl / cell.betas.rec) ** 0.3
    metrics |= {name: metrics[name] * factor for name in ("kl_published", "kl")}
    metrics["modes_covered"] = made_parts(cell) / 2 if fate(cell) == "collapsed" else made_parts(cell)
    return metrics | ({"kl_published": math.nan} if fate(cell) == "nan" else {})


def made_parts(cell: Cell) -> float:
    return {"8gaussians": 8.0, "rings": 4.0}[cell.dataset]


@pytest.fixture
def cells(write_study) -> tuple[Cell, ...]:
    """A study with a grid and its results, in the test's own folder, which is the working directory."""
    write_study("grid", STUDY)
    cells = studies.load("grid").cells()
    for cell in cells:
        if fate(cell) != "missing":
            at = 700 if fate(cell) == "diverged" else None
            made_cells.write_cell(Path("results"), cell, diverged_at=at, values=planted, arrays=False)
    return cells


def stored(cells) -> pd.DataFrame:
    """The runs as the test itself reads them: a line per cell, from the paths and metrics.json alone."""
    lines = []
    for cell in cells:
        path = Path(cell.path, "metrics.json")
        found = pd.read_json(path, typ="series").to_dict() if path.exists() else {"status": "missing"}
        lines.append({"dataset": cell.dataset, "setting": cell.objective, "seed": cell.seed} | found)
    frame = pd.DataFrame(lines)
    numbers = frame[["kl_published", "kl", "modes_covered"]].apply(pd.to_numeric, errors="coerce")
    return frame.assign(objective=frame.setting.str.split("-rec").str[0], **numbers)


def test_the_table_against_pandas(cells):
    view = stability_view(read_cells(cells))
    table = pd.read_csv(io.StringIO(view["csv"])).set_index(["dataset", "objective"])
    runs = stored(cells)
    assert len(table) == len(view["lines"]) == 4
    for key, members in runs.groupby(["dataset", "objective"]):
        line = table.loc[key]
        assert line["runs"] == len(members)
        assert line["settings"] == members.setting.nunique()
        for state in ("done", "diverged", "missing"):
            assert line[state] == (members.status == state).sum()
        parts = {"8gaussians": 8, "rings": 4}[key[0]]
        assert line["collapsed"] == (members.modes_covered <= parts / 2).sum()
        assert line["ended"] == line["judged"] == members.status.isin(["done", "diverged"]).sum()
        for metric in ("kl_published", "kl"):
            means = members.groupby("setting")[metric].mean().dropna()
            spread = means.describe()
            found = line[[f"{metric}_{what}" for what in (*stability.LEVELS, "n")]].astype(float)
            expected = spread[["50%", "25%", "75%", "min", "max", "count"]]
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_diverged_collapsed_and_missing_cells_are_counted_and_shown(cells):
    lines = {(line["dataset"], line["label"]): line for line in stability_view(read_cells(cells))["lines"]}
    line = lines["Rings", "introvae · normal"]
    assert (line["finished"], line["absent"]) == ("29/32", "1 missing")
    assert (line["diverged"], line["collapsed"]) == ("2/31 (6.5%)", "1/31 (3.2%)")
    assert line["spreads"][4] == line["spreads"][9] == "15/16"  # no seed of the diverged setting has a number
    assert [key[0] for key in lines] == ["8 Gaussians", "8 Gaussians", "Rings", "Rings"]
    whole = lines["8 Gaussians", "vae · normal"]
    assert (whole["finished"], whole["diverged"], whole["collapsed"]) == ("8/8", "0/8 (0.0%)", "0/8 (0.0%)")
    assert whole["absent"] == "none"


def marks(axes) -> dict[str, np.ndarray]:
    """Marker -> the heights of its marks in a panel."""
    found: dict[str, list] = {}
    for line in axes.lines:
        found.setdefault(line.get_marker(), []).extend(line.get_ydata())
    return {marker: np.array(heights) for marker, heights in found.items()}


def test_every_run_has_its_mark(cells):
    (sweep,) = [s for s in stability.sweeps_of(read_cells(cells)) if (s.dataset, s.row[0]) == ("rings", "introvae")]
    panels = dict(figures.panels_of([sweep]))
    assert list(panels) == ["introvae · normal, margin 1", "introvae · normal, margin 20"]
    axes = figures.Figure().subplots()
    figures.draw_panel(axes, panels["introvae · normal, margin 20"], [0.2, 1])
    runs = stored(cells).query("dataset == 'rings' and setting.str.endswith('margin20')")
    drawn = marks(axes)
    for marker, rec in (("o", "rec0.2"), ("s", "rec1-")):
        members = runs[runs.setting.str.contains(rec)]
        assert sorted(drawn[marker]) == pytest.approx(sorted(members.kl_published.dropna()))
    assert len(drawn["x"]) == 2  # diverged: both seeds, at two heights of the strip
    assert len(set(drawn["x"])) == 2
    assert min(drawn["x"]) > figures.STRIP_START
    assert drawn["+"] == pytest.approx(runs.kl_published[runs.modes_covered <= 2])  # collapsed
    assert len(drawn["1"]) == 1  # finished without a number
    assert figures.counted(sweep.results) == "32 runs, 2 diverged, 1 collapsed, 1 missing, 1 no KL"


def test_places_rise_with_each_weight(cells):
    (sweep,) = [s for s in stability.sweeps_of(read_cells(cells)) if (s.dataset, s.row[0]) == ("8gaussians", "vae")]
    axes = figures.Figure().subplots()
    figures.draw_panel(axes, sweep.results, [0.2, 1])
    places = {line.get_marker(): sorted(set(line.get_xdata())) for line in axes.lines if line.get_marker() in "os"}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "0.3"]
    assert places["o"][0] < 0 < places["s"][0] < places["o"][1] < 1 < places["s"][1]


def test_the_fakes_weight_is_a_multiple_of_the_real_ones():
    def ratio(objective: str) -> float | None:
        made = Cell(study="t", dataset="rings", objective=objective, prior="normal", regularizers="none", seed=0)
        return figures.negative_ratio(made)

    assert ratio("soft-introvae-rec0.2-kl0.3-neg0.9") == 3
    assert ratio("introvae-rec0.2-kl0.3-neg5-margin1") == 5
    assert ratio("vae-rec0.2-kl0.3") is None


def test_the_page_has_the_section_with_text_for_its_pictures(cells):
    report.build(["grid"])
    page = Path("reports/grid/index.html").read_text()
    assert 'id="stability"' in page
    assert "29/32" in page
    assert "1 missing" in page
    described = [text for text in re.findall(r'<svg role="img" aria-label="([^"]*)"', page) if "KL weight" in text]
    assert len(described) == 2
    assert "introvae · normal, margin 20: 16 runs, 2 diverged, 1 collapsed, 1 missing, 1 no KL, KL from" in described[1]
    assert len(pd.read_csv("reports/grid/tables/stability.csv")) == 4
    first = page
    report.build(["grid"])
    assert Path("reports/grid/index.html").read_text() == first


@pytest.mark.parametrize("kept", [[], ["vae-rec0.2-kl0.1"], ["vae-rec0.2-kl0.1", "introvae-rec1-kl0.1-neg1-margin20"]])
def test_without_a_grid_of_two_objectives_there_is_no_section(cells, kept, write_study):
    rows = made_cells.grid(datasets=("rings",), seeds=range(1))
    some = [cell for cell in cells if cell.objective in kept]
    assert stability_view(read_cells([*rows, *some])) is None
    write_study("plain", STUDY[: STUDY.index("  - datasets: [8gaussians, rings]\n    objectives: [introvae]")])
    report.build(["plain"])
    assert 'id="stability"' not in Path("reports/plain/index.html").read_text()
    assert not Path("reports/plain/tables/stability.csv").exists()


def test_a_study_that_has_not_started_still_has_its_section(write_study):
    write_study("grid", STUDY)
    view = stability_view(read_cells(studies.load("grid").cells()))
    assert {line["absent"] for line in view["lines"]} == {"8 missing", "32 missing"}
    assert {text for line in view["lines"] for text in line["spreads"]} == {"–", "0/4", "0/16"}
    assert len(view["pictures"]) == 2


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.5, 1.5, [5, 10, 20]), (-2, 2, [0.01, 0.1, 1, 10, 100]), (0.4, 0.6, [10**0.4, 10**0.6])],
)
def test_ticks_are_round_and_at_least_two(low, high, ticks):
    assert figures.ticks_between(low, high) == pytest.approx(ticks)


def test_the_compact_picture_has_the_same_marks(cells, monkeypatch):
    sweeps = [s for s in stability.sweeps_of(read_cells(cells)) if s.dataset == "rings"]
    short = figures.draw_sweeps(sweeps)
    monkeypatch.setattr(figures, "compact", lambda svg: svg)
    whole = figures.draw_sweeps(sweeps)
    assert len(short) < 0.7 * len(whole)
    place = r'<use xlink:href="([^"]*)" x="([^"]*)" y="([^"]*)"'
    pairs = list(zip(re.findall(place, short), re.findall(place, whole), strict=True))
    assert [mark for (mark, *_), _ in pairs] == [mark for _, (mark, *_) in pairs]
    found, expected = (np.array([pair[i][1:] for pair in pairs], float) for i in (0, 1))
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert re.findall(r"<text[^>]*>([^<]*)", short) == re.findall(r"<text[^>]*>([^<]*)", whole)
    colours = r"#[0-9a-f]{6}|currentColor"
    assert set(re.findall(colours, short)) == set(re.findall(colours, whole))
