"""The pages over all studies: the index, the audit and the ledger; numbers nobody transcribed are never shown."""

import math
from dataclasses import replace
from pathlib import Path

import made_cells
import numpy as np
import pytest
from test_report import STUDY, Page, build, check_links

from sintro import SintroError, report
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import METRICS
from sintro.report.numbers import audit, ledger, overall, tables
from sintro.report.numbers.results import Result
from sintro.report.numbers.results import read_cells as results_of
from sintro.report.pages.overall import overall_views
from sintro.report.pages.overview import table_view

LINE = "Somebody 2020,table1,r,KL,{value},,5,{form},{training},rings,vae,normal,none,kl_published,page 3,me"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "reported.csv"
    path.write_text("\n".join([",".join(ledger.COLUMNS), *lines]) + "\n")
    return path


def results(values: list[float]) -> list[Result]:
    cells = [
        Cell(study="t", dataset="rings", objective="vae", prior="normal", regularizers="none", seed=s)
        for s in range(len(values))
    ]
    return [
        Result(cell, Path(cell.path), "done", metrics={"kl_published": v})
        for cell, v in zip(cells, values, strict=True)
    ]


def test_ours_stand_beside_a_number_of_the_same_form(tmp_path):
    path = write(tmp_path, *(LINE.format(value=v, form="published", training="") for v in (2.0, 9.0)))
    entries = ledger.load(path)
    near, far = (ledger.compare(entry, results([1.0, 2.0, 3.0])) for entry in entries)
    assert near["ours"] == "2 ± 2.48 (n = 3)"
    assert near["difference"] == "+0"
    assert near["inside"] == "inside our 95% interval"
    assert far["difference"] == "-7"
    assert far["inside"] == "outside our 95% interval"
    assert ledger.compare(entries[0], results([1.0]))["why"] == "one seed gives no interval"
    lost = ledger.compare(
        entries[0], [*results([1.0, 2.0, 3.0, math.nan]), replace(results([0.0])[0], state="diverged")]
    )
    assert (lost["ours"], lost["inside"]) == ("2 ± 2.48 (n = 3)", "")
    assert lost["why"] == "2 of 5 diverged or undefined"
    assert "no such finished cell" in ledger.compare(entries[0], [])["why"]
    assert "no such finished cell" in ledger.compare(entries[0], results([math.nan]))["why"]


@pytest.mark.parametrize("form", ["unknown", "standard"])
def test_another_form_is_not_compared(tmp_path, form):
    entry = ledger.load(write(tmp_path, LINE.format(value=2.0, form=form, training="")))[0]
    compared = ledger.compare(entry, results([1.0, 2.0, 3.0]))
    assert compared["ours"] == ""
    assert "form" in compared["why"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE.format(value="about 2", form="published", training=""), "about 2"),
        (LINE.format(value="", form="published", training=""), "value"),
        (LINE.format(value="nan", form="published", training=""), "nan"),
        (LINE.format(value="1", form="good", training=""), "good"),
        (LINE.format(value="1", form="published", training="").replace("kl_published", "kl_best"), "kl_best"),
        (LINE.format(value="1", form="published", training="").replace("page 3", ""), "source is empty"),
        ("a,b", "16 fields"),
        (LINE.replace("{training}", "ours").format(value="1", form="published"), "'ours' is not one of pl, si"),
        (
            LINE.replace("kl_published", "history:klreal@5").format(value="1", form="published", training=""),
            "history:COLUMN@ITERATION",
        ),
    ],
)
def test_a_bad_line_is_a_clear_error(tmp_path, line, words):
    with pytest.raises(SintroError, match=r"reported\.csv, line 2") as caught:
        ledger.load(write(tmp_path, line))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_columns_are_a_clear_error(tmp_path):
    (tmp_path / "reported.csv").write_text("paper,value\nx,1\n")
    with pytest.raises(SintroError, match="exactly the columns"):
        ledger.load(tmp_path / "reported.csv")


def test_a_number_of_one_papers_training_stands_beside_studies_that_follow_it_alone(repository, monkeypatch):
    """Both studies have this cell; the quoted FID belongs to S-IntroVAE's own protocol."""
    monkeypatch.setenv("SINTRO_STUDIES", str(repository / "workflow" / "studies"))
    entry = next(e for e in ledger.load() if e.value == 4.6)
    found = {}
    for study in ("table2", "table-si"):
        cell = Cell(
            study=study, dataset="cifar10", objective="soft-introvae", prior="normal", regularizers="none", seed=0
        )
        assert cell in studies.load(study).cells()
        found[study] = Result(cell, Path(cell.path), "done", metrics={"fid_published": 5.0})
    assert ledger.compare(entry, [found["table-si"]])["difference"] == "+0.4"
    assert "no such finished cell" in ledger.compare(entry, [found["table2"]])["why"]
    assert "follows protocol si" in ledger.compare(entry, [found["table2"]])["why"]


def test_a_trace_stands_beside_the_nearest_row_of_the_history(tmp_path):
    line = LINE.format(value=2.0, form="published", training="").replace("kl_published", "history:kl_real@25000")
    entry = ledger.load(write(tmp_path, line))[0]
    cell = results([0.0])[0].cell
    result = Result(cell, tmp_path, "done")

    def with_rows(*rows: str) -> dict[str, str]:
        (tmp_path / "history.csv").write_text("\n".join(["iteration,kl_real", *rows]) + "\n")
        return ledger.compare(entry, [result])

    assert with_rows("24000,1", "24900,3", "25200,9")["difference"] == "+1"
    assert "no such finished cell" in with_rows("24000,1", "26000,9")["why"], "no row is near"
    assert "no such finished cell" in with_rows()["why"]
    assert "no such finished cell" in with_rows("25000,")["why"], "the row has no number"


def test_the_shipped_ledger_holds_the_sourced_numbers_only(repository):
    entries = ledger.load(repository / "workflow" / "reported.csv")
    traces = [0.144, 0.146, 0.147, 2.117, 2.131, 34.1, 56.4, 78.2]
    assert sorted(e.value for e in entries) == sorted([4.3, 4.37, 4.6, 5.8, 6.6, 17.55, 18.63, 25.86, *traces])
    quoted = [e for e in entries if e.value in (4.6, 5.8, 6.6)]
    assert {(e.form, e.training, e.place[0]) for e in quoted} == {("published", "si", "cifar10")}
    assert all(e.source and e.transcribed_by for e in entries)


def test_the_ledger_has_the_papers_columns_only():
    table = tables.make_table("table1", "t", results([1.0]), tables.TABLE1)
    assert [measure.published for measure in table.reported] == ["gnelbo_published", "kl_published", "jsd_published"]
    shown = table_view("t", table, [])
    assert (shown["known"], shown["total"]) == (0, 3)


def test_ours_of_two_studies_are_not_pooled(tmp_path):
    """The cells of table1 that another study has too are the same runs, of a search they have other settings."""
    entry = ledger.load(write(tmp_path, LINE.format(value=2.0, form="published", training="")))[0]
    found = results([1.0, 2.0, 3.0])
    copies = [replace(each, cell=each.cell.model_copy(update={"study": "copy"})) for each in found]
    compared = ledger.compare_each(entry, [found, [], copies])
    assert [(one["study"], one["ours"]) for one in compared] == [
        ("t", "2 ± 2.48 (n = 3)"),
        ("copy", "2 ± 2.48 (n = 3)"),
    ]
    (none,) = ledger.compare_each(entry, [[], []])
    assert (none["study"], none["ours"]) == ("", "")
    assert "no such finished cell" in none["why"]


@pytest.mark.parametrize(
    ("form", "training", "shown"),
    [
        ("published", "", "2 (ours 1.000)"),
        ("published", "pl", "2 (ours 1.000)"),
        ("published", "si", "2 (of another form or training)"),
        ("unknown", "", "2 (of another form or training)"),
        ("standard", "", "2 (of another form or training)"),
    ],
)
def test_a_table_of_the_papers_shows_ours_where_they_may_be_compared(write_study, tmp_path, form, training, shown):
    write_study("t", STUDY.format(comparable="true", length=1))
    entries = ledger.load(write(tmp_path, LINE.format(value=2.0, form=form, training=training)))
    view = table_view("t", tables.make_table("table1", "t", results([1.0]), tables.TABLE1), entries)
    assert view["rows"][0]["cells"] == ["not transcribed", shown, "not transcribed"]
    assert (view["known"], view["total"]) == (1, 3)


def test_flipped_ranks_are_found():
    def cell_of(prior, seed):
        return Cell(study="t", dataset="rings", objective="vae", prior=prior, regularizers="none", seed=seed)

    def result(prior, kl, standard):
        cell = cell_of(prior, 0)
        return Result(cell, Path(cell.path), "done", metrics={"kl_published": kl, "kl": standard})

    found = [result("normal", 1.0, 3.0), result("vamp8", 2.0, 2.0), result("vamp9", 3.0, 4.0)]
    table = tables.make_table("table1", "t", found, tables.TABLE1)
    compared = audit.both_forms(table, "kl_published", "kl")
    assert (compared["flipped"], compared["pairs"]) == (1, 3)
    assert {line["row"]: line["flips"] for line in compared["blocks"][0]["lines"]} == {
        "vae · normal": 1, "vae · vamp8": 1, "vae · vamp9": 0,
    }  # fmt: skip


def test_the_seed_of_the_search_stands_beside_the_seeds_that_had_no_say():
    def result(seed, kl):
        cell = Cell(study="t", dataset="rings", objective="vae", prior="normal", regularizers="none", seed=seed)
        return Result(cell, Path(cell.path), "done", metrics={"kl_published": kl})

    table = tables.make_table("table1", "t", [result(0, 1.0), result(1, 3.0), result(2, 5.0)], tables.TABLE1)
    told = audit.at_the_seed_of_the_search([table])
    assert "1 at seed 0, 4 at the other seeds" in told
    assert audit.at_the_seed_of_the_search([tables.make_table("table1", "t", [result(0, 1.0)], tables.TABLE1)]) == ""


def test_the_audit_takes_both_kinds_of_data_of_a_study():
    """Beside Table 5, Table 1 counts too; Table 2, a selection of Table 5, does not."""
    names = {"rings": ("kl_published", "kl"), "fmnist": ("fid_published", "fid_eval_train")}
    found = []
    for dataset, metrics in names.items():
        for prior in ("normal", "mog10-fixed"):
            for seed in range(2):
                cell = Cell(
                    study="t", dataset=dataset, objective="soft-introvae", prior=prior, regularizers="none", seed=seed
                )
                values = dict.fromkeys(metrics, 1.0 + seed + len(prior))
                found.append(Result(cell, Path(cell.path), "done", metrics=values))
    plane, images = found[:4], found[4:]
    measures = tables.image_measures(images)
    made = [tables.make_table("table1", "t", plane, tables.TABLE1)]
    made += [tables.make_table(name, "t", images, measures) for name in ("table2", "table5")]
    shown = {view["item"].name: view["studies"] for view in audit.audit([("t", found, made)])}
    for item, pair in (("A5", ("kl_published", "kl")), ("A1", ("fid_published", "fid_eval_train"))):
        (study,) = shown[item]
        assert [(block["published"], block["standard"]) for block in study["blocks"]] == [pair]
    assert "n = 2" in shown["A9"][0]["text"]


def test_every_audit_item_is_listed():
    assert [item.name for item in audit.AUDIT_ITEMS] == [*(f"A{i}" for i in range(1, 21)), "A22"]


def test_adams_state_is_told_of_the_cells_that_have_an_introspective_phase(repository, monkeypatch):
    monkeypatch.setenv("SINTRO_STUDIES", str(repository / "workflow" / "studies"))

    def result(study: str, objective: str, dataset: str = "rings") -> Result:
        cell = Cell(study=study, dataset=dataset, objective=objective, prior="normal", regularizers="none", seed=0)
        settings = studies.settings(cell).model_dump(mode="json")
        return Result(cell, Path(cell.path), "done", record={"settings": settings})

    cells = [result("quick", "soft-introvae"), result("table1", "soft-introvae"), result("table1", "vae")]
    cells.append(result("translation-baselines", "lord", "solids"))  # it has two stages, but no fakes
    assert audit.adam_seen(cells) == "carried in 1 cell, restarted in 1 cell"


def test_overview_pages(write_study, repository):
    write_study("small", STUDY.format(comparable="true", length=1))
    write_study("begun", STUDY.format(comparable="true", length=1))
    for name in ("claims.yaml", "reported.csv"):
        Path("workflow", name).write_text((repository / "workflow" / name).read_text())
    made_cells.write_cells("results", studies.load("small").cells())
    Path("results", "begun").mkdir()  # no claim can be judged on it yet
    build()
    index = Page(Path("reports/index.html"))
    heads = Path("reports/index.html").read_text()
    assert '<th scope="col">small</th>' in heads
    assert '<th scope="col">begun</th>' not in heads
    assert "C1 Learning the prior" in index.words
    assert "supported" in index.words
    assert "not run" in index.words
    assert {"claims.html", "audit.html", "ledger.html", "claims.html#C1"} <= set(index.links)
    assert {f"C{i}" for i in (1, 2, 3, 4, 5, 7)} <= Page(Path("reports/claims.html")).ids
    assert {f"A{i}" for i in range(1, 13)} <= Page(Path("reports/audit.html")).ids
    words = Page(Path("reports/ledger.html")).words
    assert "0 of 24 numbers transcribed" in words
    assert "not transcribed" in words


def test_no_page_leads_to_a_study_whose_page_is_not_built(write_study, repository):
    for name in ("small", "other"):
        write_study(name, STUDY.format(comparable="true", length=1))
        made_cells.write_cells("results", studies.load(name).cells(), arrays=False)
    Path("workflow", "claims.yaml").write_text((repository / "workflow" / "claims.yaml").read_text())
    build(["small"])
    check_links(Path("reports"))
    for name in ("claims.html", "audit.html"):
        page = Page(Path("reports", name))
        assert "small/index.html" in page.links
        assert "other" in page.words


def test_image_studies_have_tables_2_and_5(write_study, repository):
    shipped = (repository / "workflow" / "studies" / "table2.yaml").read_text()
    write_study("images", shipped.replace("[0, 1, 2]", "[0]").replace("mnist, fmnist, ", ""))
    Path("workflow", "claims.yaml").write_text((repository / "workflow" / "claims.yaml").read_text())
    cells = studies.load("images").cells()
    assert len(cells) == 33
    made_cells.write_cells("results", cells)
    build(["images"])
    page = Page(Path("reports/images/index.html"))
    assert {"table2", "table5"} <= page.ids
    assert "FID (published) against r, CIFAR-10: mean ± sd/√n over seeds" in page.words
    assert "r = " in page.words
    audited = Page(Path("reports/audit.html")).words
    assert "fid_published against fid_eval_train" in audited  # A1 alone
    assert "fid_published against fid_train_eval" in audited  # A2 alone
    assert "k = 4 for precision, 5 for recall" in audited
    assert "fid_published against fid_last_published" in audited
    assert "svc_many against linear_probe" in audited
    assert "<code>soft-introvae-rec0.5-kl1-neg1024</code>" in Path("reports/audit.html").read_text()
    cell = Page(Path("reports", *Path(cells[1].path).parts[1:]).with_suffix(".html")).words
    assert "last checkpoint" in cell
    assert "normalised entropy of responsibilities (published)" in cell
    assert "FID (published)" in cell


def test_a_bad_claim_stops_the_report_with_its_name(write_study):
    write_study("small", STUDY.format(comparable="true", length=1))
    Path("workflow/claims.yaml").write_text("claims: {C1: {title: x, source: y, contrasts: []}}")
    with pytest.raises(SintroError, match=r"claims\.yaml: claims\.C1\.contrasts"):
        build()


# --- over all data sets


def test_scores_are_between_the_floor_and_the_vae(tmp_path, monkeypatch):
    """By hand: floor .61 and 6.79, VAE 1.61 and 8.79; whatever the scale of a data set, a run halfway scores 1/2."""
    monkeypatch.chdir(tmp_path)
    own = {"8gaussians": (0.61, 1.0), "spirals": (6.79, 2.0)}
    share = {"vae": 1.0, "soft-introvae": 0.5}

    def values(cell, metrics):
        floor, unit = own[cell.dataset]
        return metrics | {"kl_published": floor + unit * share[cell.objective] + 0.01 * unit * (cell.seed - 1)}

    cells = [cell for cell in made_cells.grid(datasets=tuple(own), seeds=range(3)) if cell.prior == "normal"]
    made_cells.write_cells("results", cells, values=values)
    made_cells.write_cell("results", cells[-1], diverged_at=5)
    floors = {name: {"kl_published": (floor, 0.01)} for name, (floor, _) in own.items()}
    measure = tables.Measure("kl_published", "kl")
    table = tables.make_table("table1", "", results_of(cells), [measure], floors)
    (found,) = overall.overall([table])
    vae, soft = found.lines
    assert (vae.runs, vae.fewest, vae.lost, soft.lost) == (6, 3, 0, 1)
    assert vae.iqm.value == pytest.approx(1)
    assert soft.iqm.value == pytest.approx(np.mean([0.49, 0.5, 0.5, 0.51]))
    assert soft.over_vae.value == pytest.approx((1 + 2 / 3) / 2)
    assert vae.over_vae is soft.over_best is None
    assert found.label == "KL (published)"
    lines = overall.to_csv([found]).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("table1,kl_published,published,8gaussians spirals,soft-introvae,normal,none,6,3,1,,0.5")
    # Finished runs whose evaluation has no such number are runs all the same.
    without = [replace(r, metrics={}) if r.cell.objective != "vae" else r for r in results_of(cells)]
    (shown,) = overall_views(overall.overall([tables.make_table("table1", "", without, [measure], floors)]))
    assert [line["notes"] for line in shown["lines"]] == ["", "1 diverged or undefined, no number on 8 Gaussians"]
    # A VAE that is no worse than the floor makes no scale, and no floor makes none either.
    floors["spirals"] = {"kl_published": (8.79, 0.01)}
    (found,) = overall.overall([tables.make_table("table1", "", results_of(cells), [measure], floors)])
    assert found.left_out == {"spirals": "the VAE is no worse than the floor"}
    assert overall.overall([tables.make_table("table1", "", results_of(cells), [measure])]) == []


def test_a_perfect_model_scores_zero_where_a_half_is_best():
    """Its values lie around 1/2, so their mean has a smaller distance from it than they have on average."""
    values = np.random.default_rng(0).normal(0.4994, 0.0084, 100_000)
    zero = overall._zero(METRICS["one_nna"], 0.4994, 0.0084)
    assert zero == pytest.approx(np.mean([METRICS["one_nna"].ranked(value) for value in values]), rel=0.01)
    assert overall._zero(METRICS["kl"], 0.3, 0.1) == 0.3


def test_the_index_and_the_study_show_the_aggregates(tmp_path, monkeypatch, write_study):
    grid = "cells:\n  - {datasets: [rings, spirals], objectives: [vae, soft-introvae], priors: [normal]}\n"
    write_study("grid", f"title: Grid\ncomparable: true\nseeds: [0, 1, 2]\n{grid}")
    cells = studies.load("grid").cells()
    made_cells.write_cells("results", cells, arrays=False)
    report.build(["grid"])
    page, index = (Path("reports", name).read_text() for name in ("grid/index.html", "index.html"))
    for text in (page, index):
        assert '<h2 id="overall">Over all data sets</h2>' in text
        assert "P(better than the VAE with N(0, I))" in text
    assert Path("reports/grid/tables/overall.csv").read_text().startswith("table,metric,form,")
