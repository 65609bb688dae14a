"""Results whose extension was deleted: the report shows them and says so, and nothing asks for them any more."""

import csv
import html
import json
from pathlib import Path

import pytest
from test_extensions import DENSITY
from test_extensions_models import TOYS

from sintro.__main__ import main
from sintro.cells import components, studies

GONE = "its extension is gone"
STUDY = """
title: Components of our own
comparable: false
seeds: [0]
overrides: {iterations: 20, warmup: 1/2, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}
cells:
  - {datasets: [rings], objectives: [vae], priors: [normal]}
  - {datasets: [bars], objectives: [vae], priors: [normal]}
  - {datasets: [rings], objectives: [soft-introvae], priors: [shared2], regularizers: [resp1]}
  - {datasets: [rings], objectives: [annealed-vae], priors: [normal]}
  - {datasets: [rings], objectives: [annealed-vae], priors: [normal], betas: {rec: [1], kl: [0.5]}}
"""
CELLS = {
    "bars": "bars/vae/normal/none/seed0",
    "shared": "rings/soft-introvae/shared2/resp1/seed0",
    "annealed": "rings/annealed-vae/normal/none/seed0",
    "betas": "rings/annealed-vae-rec1-kl0.5/normal/none/seed0",
}


def forget() -> None:
    """Read the extensions and the studies again, as a new process would."""
    components.registry._registries.clear()
    studies._load.cache_clear()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a cell of every kind of extension, trained and evaluated."""
    folder = tmp_path_factory.mktemp("gone")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        (folder / "workflow" / "studies").mkdir(parents=True)
        (folder / "workflow" / "studies" / "own.yaml").write_text(STUDY)
        (folder / "extensions").mkdir()
        (folder / "extensions" / "bars.py").write_text(DENSITY)
        for toy in ("shared", "annealed"):
            (folder / "extensions" / f"{toy}.py").write_text((TOYS / f"{toy}.py").read_text())
        for path in CELLS.values():
            assert main(["train", f"results/own/{path}", "--device", "cpu", "--threads", "1"]) == 0
            assert main(["evaluate", f"results/own/{path}", "--device", "cpu"]) == 0
        assert main(["report", "own"]) == 0
    return folder


@pytest.fixture
def without(made, monkeypatch):
    """Delete the extensions for one test -> a function that reads a page."""
    monkeypatch.chdir(made)
    texts = {path: path.read_text() for path in made.glob("extensions/*.py")}
    before = numbers(made)
    for path in texts:
        path.unlink()
    forget()
    yield before
    for path, text in texts.items():
        path.write_text(text)
    forget()


def exported(folder: Path) -> list[dict[str, str]]:
    """The rows of the study's exported table."""
    with open(folder / "reports/own/tables/table1.csv", newline="") as file:
        return list(csv.DictReader(file))


def numbers(folder: Path) -> dict[tuple[str, ...], str]:
    """Every number of the study's table: {(dataset, objective, prior, regularizers, form, metric): mean}."""
    keys = ("dataset", "objective", "prior", "regularizers", "form", "metric")
    return {tuple(row[key] for key in keys): row["mean"] for row in exported(folder)}


def page(name: str) -> str:
    return html.unescape(Path("reports/own", name).read_text())


def test_the_numbers_stand_in_the_tables_and_say_so(without, capsys) -> None:
    assert main(["report", "own"]) == 0
    assert numbers(Path()) == without
    said = page("index.html")
    assert "Extensions are gone." in said
    assert "Some cells are left out" not in said
    assert said.count(f"</a> {GONE}") >= len(CELLS)
    noted = {(row["dataset"], row["objective"], row["prior"]) for row in exported(Path()) if GONE in row["note"]}
    assert noted == {tuple(path.split("/")[:3]) for path in CELLS.values()}
    assert "4 cells of study own are left out, as results/own/bars/vae/normal/none/seed0" in capsys.readouterr().err


@pytest.mark.parametrize("name", CELLS)
def test_the_cells_page_shows_what_is_stored_and_says_so(without, name) -> None:
    assert main(["report", "own"]) == 0
    said = page(f"{CELLS[name]}.html")
    assert "Its extension is gone: no extension defines" in said
    metrics = json.loads(Path("results/own", CELLS[name], "metrics.json").read_text())
    assert f"{metrics['kl']:.5g}" in said
    assert f'{CELLS[name]}/samples.png"' in said, "the stored picture"
    assert 'class="absent"' not in said, "none is missed"
    assert "only the extension knows what is published for them" in said


def test_nothing_asks_for_them_any_more(without, capsys) -> None:
    assert main(["report", "own"]) == 0
    assert [cell.path for cell in studies.load("own").cells()] == ["results/own/rings/vae/normal/none/seed0"]
    studies._load.cache_clear()  # read anew by the process that has stand-ins
    assert [cell.path for cell in studies.load("own").cells()] == ["results/own/rings/vae/normal/none/seed0"]
    forget()
    capsys.readouterr()
    assert main(["train", f"results/own/{CELLS['bars']}"]) == 2
    assert "dataset 'bars' is not one of" in capsys.readouterr().err


def test_results_without_their_settings_stay_left_out(without) -> None:
    record = Path("results/own", CELLS["bars"], "cell.json")
    text = record.read_text()
    try:
        record.write_text("{}")
        assert main(["report", "own"]) == 0
        said = page("index.html")
        assert "1 cells of study own are left out, as results/own/bars/vae/normal/none/seed0" in said
        assert "3 cells of this study" in said
    finally:
        record.write_text(text)


def test_a_study_with_the_same_grid_in_its_own_folders(without, capsys) -> None:
    Path("workflow/studies/again.yaml").write_text(
        "title: Again\ncomparable: false\ncells_from: own\ndatasets: [bars]\noverrides: {iterations: 20}\n"
    )
    assert main(["cells", "again"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1 cells of study again are left out, as results/again/bars/vae/normal/none/seed0" in printed.err
    Path("workflow/studies/again.yaml").unlink()
