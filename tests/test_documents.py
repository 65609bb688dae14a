"""What the documents name exists: links, commands, options, paths, cells, studies and sections; their numbers agree."""

import dataclasses
import importlib
import json
import re
import statistics
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sintro import SintroError
from sintro.__main__ import app
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.report.pages import documents

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results.md"
DOCUMENTS = sorted((README, ROOT / "CONTRIBUTING.md", ROOT / "archive" / "README.md", *ROOT.glob("docs/*.md")))
WORDS = 1000  # of a README that is read to its end
PICTURE_BYTES = 150_000
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")

USERS_OWN = ROOT / "docs" / "extending.md"  # names components, studies and cells that its reader makes


def each(documents: list[Path]) -> pytest.MarkDecorator:
    """Run a test once for each document."""
    return pytest.mark.parametrize("document", documents, ids=lambda path: str(path.relative_to(ROOT)))


each_document = each(DOCUMENTS)
each_of_shipped_names = each([document for document in DOCUMENTS if document != USERS_OWN])


def code(document: Path) -> str:
    """All code of a document, its fenced blocks and its spans, without the comments in it."""
    code = "\n".join(block or span for block, span in CODE.findall(document.read_text()))
    return re.sub(r"\s+# .*", "", code)


def verbs() -> dict[str, Any]:
    """The verbs of `sintro` by name."""
    return typer.main.get_command(app).commands


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as Markdown viewers make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(document: Path, head: str) -> list[list[str]]:
    """The rows below the table's head that begins with `head`, as lists of their cells' texts."""
    lines = iter(document.read_text().splitlines())
    for line in lines:
        if line.startswith(head):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([text.strip() for text in line.strip("|").split("|")])
    return rows


@each_document
def test_every_relative_link_leads_to_a_file_and_a_heading(document):
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    for link in links:
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_document
def test_every_verb_and_option_of_sintro_exists(document):
    commands = verbs()
    for verb, rest in re.findall(r"(?<![\w./-])sintro ([a-z]+)([^\n|;&]*)", code(document)):
        assert verb in commands, f"sintro {verb}"
        known = {option for parameter in commands[verb].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known | {"--help"}, f"sintro {verb}{rest}"


@each_document
def test_every_target_and_variable_of_make_exists(document):
    makefile = (ROOT / "Makefile").read_text()
    for target, rest in re.findall(r"(?<![\w-])make ([a-z][a-z0-9-]*)([^\n;]*)", code(document)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        for variable in re.findall(r"\b([A-Z]+)=", rest):
            assert re.search(rf"^{variable} \?=", makefile, re.MULTILINE), f"make {target}{rest}"


@each_of_shipped_names
def test_every_setting_profile_and_study_given_to_snakemake_exists(document):
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    for rest in re.findall(r"\bsnakemake ([^\n]*)", code(document)):
        for profile in re.findall(r"--profile (\S+)", rest):
            assert (ROOT / profile / "config.yaml").is_file(), rest
        for setting in re.findall(r"(?<=\s)([a-z]+)=\S", rest):
            assert setting in schema["properties"], rest
    for study in re.findall(r"\bstudy=([\w-]+)", code(document)):
        studies.load(study)


@each_document
def test_every_benchmark_exists(document):
    from benchmarks.measuring import GROUPS, all_rows

    for rest in re.findall(r"python -m benchmarks([^\n]*)", code(document)):
        names = re.findall(r"(?<=\s)[a-z][\w-]*", rest.partition(" --")[0])
        assert set(names) <= {*all_rows(), *GROUPS}, rest


@each_of_shipped_names
def test_every_path_and_python_name_exists(document):
    rooms = "tests|docs|sintro|workflow|slurm|benchmarks|archive"
    for path in re.findall(rf"(?<![\w./-])(?:{rooms})/[\w./*-]*", code(document)):
        assert any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists(), path
    for name in re.findall(r"(?<![\w./-])sintro(?:\.\w+)+", code(document)):
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            importlib.import_module(name)


@each_of_shipped_names
def test_every_cell_is_one(document):
    for path in re.findall(r"\bresults/[a-z][\w-]*/[\w./-]+/seed\d+", code(document)):
        assert Cell.from_path(path).path == path


@each_of_shipped_names
def test_studies_have_as_many_cells_as_is_said(document):
    text = document.read_text()
    said = re.findall(r"`([a-z][\w-]*)` \(([\d,]+)(?: cells| short runs)?\)", text)
    said += re.findall(r"study=([\w-]+)[^\n]*: ([\d,]+) cells", text)
    for study, count in said:
        assert len(studies.load(study).cells()) == int(count.replace(",", "")), study


def test_the_readme_names_legal_parts_of_cells():
    names = {row[0]: re.findall(r"`([\w.-]+)`", row[1]) for row in table(README, "| part | values |")}
    learned = "8gaussians/soft-introvae/mog64-learned"
    paths = [f"{dataset}/vae/normal/none" for dataset in names["dataset"]]
    paths += [f"digits/{objective}/normal/none" for objective in names["objective"]]
    for prior in names["prior"]:
        suffix = prior.startswith("-")
        model = "vae" if prior.startswith("vamp") else "soft-introvae"
        paths.append(f"{learned}{prior}/none" if suffix else f"8gaussians/{model}/{prior}/none")
    paths += [f"{learned}/{regularizers}" for regularizers in names["regularizers"]]
    assert len(paths) > 20
    for path in paths:
        Cell.from_path(f"results/any/{path}/seed0")


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= WORDS


def test_every_picture_is_shown_and_small():
    shown = "".join(document.read_text() for document in DOCUMENTS)
    for picture in ROOT.glob("docs/*.png"):
        assert f"{picture.name})" in shown, picture.name
        assert picture.stat().st_size <= PICTURE_BYTES, picture.name


def test_the_tables_of_archived_runs_are_what_the_archive_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert documents.main(write=False) == 0, "make readme-results WRITE=1 writes them anew"
    texts = {path: path.read_text() for path in documents.DOCUMENTS}
    rows = re.findall(r"^\| soft-introvae \| normal \| (\S+)", texts[Path("README.md")], re.MULTILINE)
    values = [
        metrics["kl_published"]
        for path, metrics in archived("table1-short").items()
        if path.startswith("8gaussians/soft-introvae/normal/none/")
    ]
    assert rows[0].startswith(f"{statistics.fmean(values):.1f}±")
    archive = documents.FOLDER.resolve()
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("archive").symlink_to(archive)
    for path, text in texts.items():
        path.write_text(text.replace(rows[0], "0.1±0.0").replace("| inconclusive |", "| supported |"))
    assert documents.main(write=False) == 1
    assert "not what the archive says: README.md, docs/results.md" in capsys.readouterr().out
    assert documents.main(write=True) == 0
    assert {path: path.read_text() for path in documents.DOCUMENTS} == texts


def test_half_of_the_training_images_is_called_no_perfect_model():
    tables = re.findall(r"<!-- archived fmnist-small: .*?<!-- end -->", RESULTS.read_text(), re.DOTALL)
    assert "| floor (training images, half against half) |" in tables[0]
    assert not any("perfect" in text for text in tables)


def test_a_table_of_a_study_that_no_archive_has_is_a_clear_error(tmp_path):
    with (
        documents.archived_studies(tmp_path) as read,
        pytest.raises(SintroError, match="no finished cell of study table2"),
    ):
        documents.filled("<!-- archived table2: fid -->\n<!-- end -->\n", read)


def test_a_table_of_an_archive_that_lacks_most_of_its_study_has_the_rows_that_were_run():
    with documents.archived_studies(ROOT / "archive") as read:
        found = documents.filled("<!-- archived table1: kl_published -->\n<!-- end -->\n", read).splitlines()
    models = {tuple(path.split("/")[1:3]) for path in archived("table1")}
    rows = [line.split(" | ")[0:2] for line in found if "normal" in line or "mog64" in line]
    assert {(model.removeprefix("| "), prior.split(",")[0]) for model, prior in rows} == models


def test_several_metrics_of_several_data_sets_stand_below_each_other():
    with documents.archived_studies(ROOT / "archive") as read:
        text = "<!-- archived detection: kl_published, ood_uniform_elbo_auroc -->\n<!-- end -->\n"
        rows = [line.strip("| ").split(" | ") for line in documents.filled(text, read).splitlines()[1:-1]]
    assert rows[0] == ["data", "objective", "prior", "KL (published)", "AUROC (ELBO, off support)", "seeds"]
    models = [["vae", "normal"], ["soft-introvae", "normal"], ["soft-introvae", "mog64-learned, clip"]]
    expected = [
        [dataset, *model] for dataset in ("8gaussians", "rings") for model in [*models, ["floor (a perfect model)", ""]]
    ]
    assert [row[:3] for row in rows[2:]] == expected
    vae = [archived("detection")[f"rings/vae/normal/none/seed{seed}"]["kl_published"] for seed in range(3)]
    assert float(rows[6][3].partition("±")[0]) == pytest.approx(statistics.fmean(vae), rel=1e-2)


def test_the_stability_over_hyper_parameters_is_what_the_archive_holds():
    """Collapsed runs counted again, and the median and the best of the published KL by NumPy."""
    metrics = archived("stability-short")
    rows = table(RESULTS, "| data | objective | diverged |")
    parts = {"8 Gaussians": ("8gaussians", 8), "Rings": ("rings", 4)}
    assert len(rows) == 6
    for data, model, diverged, collapsed, median, _, best in rows:
        dataset, labels = parts[data]
        beginning = f"{dataset}/{model.partition(' ')[0]}-rec"
        runs = [one for path, one in metrics.items() if path.startswith(beginning)]
        kls = [one["kl_published"] for one in runs]
        assert diverged.startswith(f"0/{len(runs)} ")
        assert collapsed.startswith(f"{sum(one['modes_covered'] <= labels / 2 for one in runs)}/{len(runs)} ")
        assert float(median) == pytest.approx(statistics.median(kls), rel=0.01)
        assert float(best) == pytest.approx(min(kls), rel=0.01)


def test_a_row_that_diverged_stays_in_its_table():
    with documents.archived_studies(ROOT / "archive") as read:
        report = read("bootstrap")
    spoilt = []
    for result in report.results:
        is_lost = result.cell.objective == "vae" or (result.cell.objective, result.cell.seed) == ("soft-introvae", 0)
        spoilt.append(dataclasses.replace(result, state="diverged", metrics={}) if is_lost else result)
    text = "<!-- archived bootstrap: cfid_published -->\n<!-- end -->\n"
    lines = documents.filled(text, lambda study: dataclasses.replace(report, results=spoilt)).splitlines()
    assert lines[3].startswith("| vae | normal | ")
    assert lines[3].endswith("| 0, 3 diverged |")
    assert lines[4].endswith("| 2, 1 diverged |")


def archived(study: str) -> dict[str, dict]:
    """The metrics of an archived study: {"rings/vae/normal/none/seed0": metrics.json's content}."""
    with zipfile.ZipFile(ROOT / "archive" / f"{study}.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith("/metrics.json")]
        return {
            name.removeprefix(f"results/{study}/").removesuffix("/metrics.json"): json.loads(archive.read(name))
            for name in names
        }


def test_the_detection_tables_are_what_the_archive_holds():
    """Means over three seeds, worked out again from the archived metrics."""
    metrics = archived("detection")
    heads = {
        "| objective | prior | 8gaussians | rings |": (("8gaussians", "uniform"), ("rings", "uniform")),
        "| objective | prior | AUROC (ELBO, inverted) |": (("digits", "inverted"), ("digits", "noise")),
    }
    for head, columns in heads.items():
        rows = table(RESULTS, head)
        assert len(rows) == 3
        for objective, prior, *numbers, seeds in rows:
            model = f"{objective}/{prior.replace(', ', '/')}" if "," in prior else f"{objective}/{prior}/none"
            assert seeds == "3"
            for (dataset, kind), number in zip(columns, numbers, strict=True):
                values = [metrics[f"{dataset}/{model}/seed{seed}"][f"ood_{kind}_elbo_auroc"] for seed in range(3)]
                assert float(number.partition("±")[0]) == pytest.approx(statistics.mean(values), abs=0.006), (
                    model,
                    dataset,
                )


def test_every_section_of_the_science_that_is_cited_exists():
    science = (ROOT / "docs" / "science.md").read_text()
    sections = set(re.findall(r"^## (\d+)\.", science, re.MULTILINE))
    files = [*ROOT.glob("sintro/**/*.py"), *ROOT.glob("sintro/**/*.html"), *ROOT.glob("workflow/**/*.yaml"), *DOCUMENTS]
    cited = set()
    for file in files:
        for first, second in re.findall(r"science\.md\)?, sections? (\d+)(?: (?:to|and) (\d+))?", file.read_text()):
            cited |= {first, second} - {""}
    assert cited
    assert cited <= sections
