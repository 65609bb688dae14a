"""The report's numbers and pages, over made-up results: nothing is lost, nothing is invented, nothing is run."""

import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import made_cells
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sintro import SintroError, report
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.report.numbers import audit, exports, ranks, results, tables
from sintro.report.numbers import study as study_numbers
from sintro.report.numbers.facts import shortened
from sintro.report.pages import overview, site, writer
from sintro.report.pages.tables import comparisons_view
from sintro.runs.results import OTHER, STATES

STUDY = """
title: A small study
description: For tests.
comparable: {comparable}
length: {length}
seeds: [0, 1, 2, 3]
cells:
  - {{datasets: [8gaussians, rings], objectives: [vae], priors: [normal]}}
  - {{datasets: [8gaussians, rings], objectives: [soft-introvae], priors: [normal, mog64-fixed]}}
  - {{datasets: [8gaussians, rings], objectives: [soft-introvae], priors: [mog64-learned], regularizers: [clip]}}
"""


class Page(HTMLParser):
    """What the tests ask of a page: its links, its pictures, its ids, its scripts and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.links, self.images, self.ids, self.tags, self.text = path, [], [], set(), [], []
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids.add(given.get("id"))
        if tag == "a":
            self.links.append(given.get("href"))
        if tag == "img":
            self.images.append(given)

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)
        elif not (self.tags and self.tags[-1][0] == "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture
def small(write_study) -> tuple[Cell, ...]:
    """A study of 32 cells, in the test's own folder, which is the working directory."""
    write_study("small", STUDY.format(comparable="true", length=1))
    return studies.load("small").cells()


def build(names=("small",)) -> list[Path]:
    return report.build(list(names))


def check_links(reports: Path) -> None:
    """Follow every link of every page below ``reports``: each leads to a file, and to a place that is in it."""
    pages = {path.resolve(): Page(path) for path in reports.rglob("*.html")}
    assert pages
    for path, page in pages.items():
        for href in page.links:
            target, _, fragment = href.partition("#")
            assert "://" not in href
            file = (path.parent / unquote(target)).resolve() if target else path
            assert file.is_file(), (path, href)
            assert not fragment or fragment in pages[file].ids, (path, href)


# --- reading


def test_every_cell_comes_back_with_its_state(small, tmp_path):
    made_cells.write_cells("results", small[:-4])
    made_cells.write_cell("results", small[0], diverged_at=123)
    Path(small[1].path, "metrics.json").write_text('{"kl_published": 1.')
    Path(small[2].path, "metrics.json").unlink()
    Path(small[3].path, "metrics.json").write_text("[1, 2]")
    found = results.read_cells(small)
    assert [r.cell for r in found] == list(small)
    states = results.count_states(found)
    counted = {"done": 24, "diverged": 1, "to evaluate": 1, "missing": 4, "unreadable": 2}
    assert states == dict.fromkeys(STATES, 0) | counted
    assert found[0].reason == "at iteration 123: loss_encoder is nan"
    assert "truncated" in found[1].reason
    assert found[2].reason == "trained, not evaluated"
    assert "list" in found[3].reason
    assert found[-1].reason == "not started"


def test_a_nan_stays_a_nan(small):
    made_cells.write_cell("results", small[0], values=lambda cell, metrics: metrics | {"kl_published": math.nan})
    found = results.read_cell(small[0])
    assert found.state == "done"
    assert math.isnan(found.value("kl_published"))
    assert found.value("nothing") is None


def test_a_cell_lost_in_a_merge_is_an_error(small):
    found = results.read_cells(small)
    with pytest.raises(SintroError, match="expected 32 cells and got 31"):
        results.check_complete(found[1:], [cell.path for cell in small])
    with pytest.raises(SintroError, match="more than once"):
        results.read_cells([*small, small[0]])


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"null", b"[" * 100_000, b'{"status": "finished"}', b'{"a": 1']
)
def test_whatever_metrics_json_holds_the_cell_is_read(small, content):
    made_cells.write_cell("results", small[0])
    Path(small[0].path, "metrics.json").write_bytes(content)
    found = results.read_cell(small[0])
    assert found.state == "unreadable"
    assert "metrics.json" in found.reason


def test_cells_of_other_settings_than_the_study_asks_for_have_no_numbers(small, write_study):
    made_cells.write_cells("results", small)
    write_study("small", STUDY.format(comparable="false", length=0.5))
    found = study_numbers.read_study("small", Path("results"))
    assert {r.state for r in found.results} == {OTHER}
    assert all("the study asks for" in r.reason for r in found.results)
    assert not any(r.metrics for r in found.results)


# --- tables


def test_table_against_pandas(small):
    made_cells.write_cells("results", small)
    made_cells.write_cell("results", small[5], diverged_at=10)
    table = tables.make_table("table1", "t", results.read_cells(small), tables.TABLE1)
    frame = pd.DataFrame(
        [
            {"row": (c.objective, c.prior, c.regularizers), "dataset": c.dataset}
            | json.loads(Path(c.path, "metrics.json").read_text())
            for c in small
        ]
    )
    frame = frame[frame.status == "done"]
    for (row, dataset), members in frame.groupby(["row", "dataset"]):
        entry = table.entries[row, dataset]
        for metric in ("kl_published", "jsd_published", "gnelbo_published"):
            values = members[metric].astype(float)
            summary = entry.summaries[metric, "published"]
            assert summary.n == len(values)
            assert summary.mean == pytest.approx(values.mean())
            assert summary.published == pytest.approx(values.std(ddof=0) / math.sqrt(len(values)))
            low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), values.sem())
            assert summary.t95 == pytest.approx((high - low) / 2)


def test_diverged_and_missing_cells_are_counted(small):
    made_cells.write_cells("results", small[1:])
    made_cells.write_cell("results", small[1], diverged_at=10)
    table = tables.make_table("table1", "t", results.read_cells(small), tables.TABLE1)
    assert table.entries[("vae", "normal", "none"), "8gaussians"].counted == "2/4, 1 diverged, 1 missing"


def test_a_nan_is_shown_and_never_best(small):
    def broken(cell, metrics):
        if cell.prior == "mog64-learned":
            metrics["kl_published"] = math.nan
        return metrics

    made_cells.write_cells("results", small, values=broken)
    table = tables.make_table("table1", "t", results.read_cells(small), tables.TABLE1)
    row = ("soft-introvae", "mog64-learned", "clip")
    assert table.text(row, "rings", tables.TABLE1[1], "published", "published") == "NaN"
    assert row not in table.best["rings", "kl_published", "published"]
    assert table.best["rings", "kl_published", "published"]


def test_a_row_of_which_a_seed_diverged_is_nowhere_best():
    found = []
    for prior, good in (("normal", 9.0), ("mog64-fixed", 10.0), ("mog32-fixed", 11.0)):
        for seed in range(4):
            one = Cell(
                study="t", dataset="rings", objective="soft-introvae", prior=prior, regularizers="none", seed=seed
            )
            diverged = prior == "normal" and seed == 3
            metrics = {} if diverged else {"kl_published": good + 0.1 * seed}
            found.append(results.Result(one, Path(one.path), "diverged" if diverged else "done", metrics=metrics))
    made = tables.make_table("t", "", found, [tables.Measure("kl_published", "kl")])
    survivors, whole, _ = made.rows
    assert made.entries[survivors, "rings"].summaries["kl_published", "published"].mean == pytest.approx(9.1)
    place = ("rings", "kl_published", "published")
    assert (made.top[place], made.best[place]) == (whole, {whole})
    assert ranks.ranks_of(made, "kl_published") == {
        "soft-introvae · mog64-fixed": {"Rings": 1.0}, "soft-introvae · mog32-fixed": {"Rings": 2.0},
    }  # fmt: skip
    (block,) = comparisons_view(made)
    assert (block["best"], [line["row"] for line in block["lines"]]) == (
        "soft-introvae · mog64-fixed", ["soft-introvae · mog32-fixed"],
    )  # fmt: skip


def test_a_metric_that_only_some_cells_have_says_so(small):
    def partial(cell, metrics):
        return {k: v for k, v in metrics.items() if k != "kl_published" or cell.seed != 2}

    made_cells.write_cells("results", small, values=partial)
    table = tables.make_table("table1", "t", results.read_cells(small), tables.TABLE1)
    text = table.text(("vae", "normal", "none"), "rings", tables.TABLE1[1], "published", "published")
    assert text.endswith("(n = 3)")


def test_shown_numbers_and_spreads():
    summary = tables.summarise([1.0, 2.0, 3.0])
    assert tables.format_summary(summary, 2) == "2.00 ± 0.47"
    assert tables.format_summary(summary, 2, spread="t95") == "2.00 ± 2.48"
    assert tables.format_summary(summary, 1, 10.0, "range") == "10.0 … 30.0"
    assert tables.format_summary(tables.summarise([2.5]), 1, spread="t95") == "2.5"
    assert tables.format_summary(tables.summarise([]), 1) == "–"


def test_exports_hold_every_number(small):
    made_cells.write_cells("results", small)
    table = tables.make_table("table1", "t", results.read_cells(small), tables.TABLE1, {"rings": {"kl": (1.0, 0.1)}})
    lines = exports.to_csv(table).splitlines()
    assert len(lines) == 1 + 4 * 2 * (3 * 2 + 1)  # rows x data sets x metrics x forms: one has one form
    latex = exports.to_latex(table)
    assert latex.count(r"\\") == 2 + 4 + 2  # two heads, four rows, the floor and the measurement noise
    body = [line for line in latex.splitlines() if line.endswith(r"\\")][1:]
    assert {line.count("&") for line in body} == {3 + 2 * 5 - 1}
    assert r"\toprule" in latex
    assert r"\textbf{" in latex
    assert "±" not in latex
    markdown = exports.to_markdown(table, "standard").splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    assert len(markdown) == 2 + 4 + 2


def test_latex_escapes():
    assert exports.latex_text("50% a_b & {c}") == r"50\% a\_b \& \{c\}"


def test_table_2_keeps_the_weight_with_the_best_fid(tmp_path):
    cells = [
        Cell(study="t", dataset="mnist", objective="soft-introvae", prior="mog10-learned", regularizers=r, seed=s)
        for r in ("clip", "clip-resp1", "clip-resp10")
        for s in range(3)
    ]

    def planted(cell, metrics):
        return metrics | {"fid_published": {0: 9.0, 1: 3.0, 10: 5.0}[cell.regularizer_spec.responsibility] + cell.seed}

    made_cells.write_cells(tmp_path / "results", cells, values=planted)
    digests = {cell.path: made_cells.settings_of(cell).digest for cell in cells}  # no study file knows these cells
    found = results.read_cells(cells, tmp_path / "results", digests)
    kept, notes = ranks.select_weight(found, "fid_published", lower_is_better=True)
    assert {r.cell.regularizers for r in kept} == {"clip-resp1"}
    assert list(notes.values()) == ["r = 1"]
    (told,) = audit.chosen_weights(found, "fid_published")
    assert told["chosen"] == "1"
    # A seed without a finite number takes its r out of the choice; the audit names the r that the table has.
    found[3] = replace(found[3], metrics={"fid_published": math.nan})
    kept, _ = ranks.select_weight(found, "fid_published", lower_is_better=True)
    (told,) = audit.chosen_weights(found, "fid_published")
    assert {f"clip-resp{told['chosen']}"} == {r.cell.regularizers for r in kept} == {"clip-resp10"}
    assert "r = 1:" not in told["others"]
    found[6] = replace(found[6], state="diverged", metrics={})  # so does one that diverged
    kept, _ = ranks.select_weight(found, "fid_published", lower_is_better=True)
    assert {r.cell.regularizers for r in kept} == {"clip"}


@pytest.mark.parametrize("distance", ["FID", "cFID"])
def test_table_2_names_the_distance_that_chooses(distance):
    scores = {f"{distance.lower()}_published": 1.0}
    found = [
        results.Result(cell, Path(cell.path), "done", metrics=scores)
        for regularizers in ("none", "resp1")
        for cell in [
            Cell(
                study="t",
                dataset="fmnist",
                objective="soft-introvae",
                prior="mog10-fixed",
                regularizers=regularizers,
                seed=0,
            )
        ]
    ]
    table2, _ = study_numbers._image_tables(found, {})
    assert table2.title.endswith(f"the r with the best published {distance}")


def test_pairs_whose_differences_are_all_the_same_have_no_test_however_many_they_are():
    rows = {"normal": 0.0, "vamp8": 1.0, "vamp9": 0.0}
    found = [
        results.Result(cell, Path(cell.path), "done", metrics={"kl_published": seed + rows[prior]})
        for prior in rows
        for seed in range(8)
        for cell in [Cell(study="t", dataset="rings", objective="vae", prior=prior, regularizers="none", seed=seed)]
    ]
    table = tables.make_table("table1", "t", found, tables.TABLE1[1:2])
    (block,) = comparisons_view(table)
    assert [(line["n"], line["p"], line["wilcoxon"]) for line in block["lines"]] == [("8", "no test", "no test")] * 2
    best = table.best["rings", "kl_published", "published"]
    assert {prior for _, prior, _ in best} == {"normal", "vamp9"}, "an equal mean alone is bold without a test"


# --- pages

EMBEDDED = "data:image/png;base64,"


def picture(page: Path, address: str) -> bytes:
    """What a browser shows at an address in a page: bytes that the page carries, or a file that it links to."""
    if address.startswith(EMBEDDED):
        return base64.b64decode(address.removeprefix(EMBEDDED))
    return (page.parent / unquote(address)).read_bytes()


def test_a_cell_page_links_to_the_pictures_of_its_folder_or_carries_them(small):
    folder = made_cells.write_cell("results", small[0])
    names = [path.name for path in report.draw_cell(folder)]
    path = Path("reports", *Path(small[0].path).parts[1:]).with_suffix(".html")
    sizes = {}
    for self_contained, files in ((False, "'self' file: "), (True, "")):  # the switch writes it again
        report.build(["small"], self_contained=self_contained)
        page = Page(path)
        shown = [image["src"] for image in page.images]
        assert len(shown) == len(names) == 5
        assert all(address.startswith(EMBEDDED) == self_contained for address in shown)
        assert {picture(path, address) for address in shown} == {(folder / name).read_bytes() for name in names}
        policy = next(given["content"] for _, given in page.tags if "http-equiv" in given)
        assert f"img-src {files}data:; style-src {files}'unsafe-inline'; script-src 'sha256-" in policy
        assert [given["href"] for _, given in page.tags if given.get("rel") == "stylesheet"] == [
            "../../../../../style.css"
        ] * (not self_contained)
        sizes[self_contained] = path.stat().st_size
    pictures = sum((folder / name).stat().st_size for name in names)
    style = Path("reports/style.css").stat().st_size
    expected = style + 4 / 3 * pictures  # base64 writes 3 bytes as 4
    assert sizes[True] - sizes[False] == pytest.approx(expected, rel=0.02)
    study = Page(Path("reports/small/index.html"))  # whole by itself in any case: Snakemake's own report takes it alone
    assert study.images
    assert all(image["src"].startswith(EMBEDDED) for image in study.images)


def test_pages_stand_alone_and_every_link_resolves(small):
    made_cells.write_cells("results", small[:-2])
    report.draw_cell(Path(small[0].path))
    paths = build()
    assert paths == [Path("reports/small/index.html"), Path("reports/index.html")]
    pages = sorted(Path("reports").rglob("*.html"))
    assert len(pages) == 1 + 4 + 8 + 32  # the study, the pages over all, groups, cells
    check_links(Path("reports"))
    for path in pages:
        page = Page(path)
        assert len([s for s in page.scripts if s.strip()]) == 1
        for tag, given in page.tags:
            for name in ("src", "href", "action"):
                assert not str(given.get(name, "")).startswith(("http", "//")), (path, tag)
        assert all(image.get("alt") and picture(path, image["src"]).startswith(b"\x89PNG") for image in page.images)
        is_of_a_cell = path.name.startswith("seed")
        assert all(image["src"].startswith(EMBEDDED) != is_of_a_cell for image in page.images)
        assert all(given.get("scope") for tag, given in page.tags if tag == "th" and given)
        named = [i for _, given in page.tags if (i := given.get("id"))]
        assert len(named) == len(set(named))


def test_the_front_page_opens_with_pictures_that_lead_to_their_cells(small):
    made_cells.write_cells("results", small)
    build()
    front, page = Page(Path("reports/index.html")), Page(Path("reports/small/index.html"))
    text = Path("reports/index.html").read_text(encoding="utf-8")
    assert text.rindex("<img") < text.index("<h2"), "claims and studies come after every picture"
    sources = [image["src"] for image in front.images]
    assert sources == [image["src"] for image in page.images][: len(sources)]
    assert "Density maps" in {given.get("aria-label") for _, given in front.tags}
    assert any(re.fullmatch(r"small/rings/\S+/seed0.html", href) for href in front.links)


def test_the_front_page_opens_with_the_study_of_most_maps_and_with_no_grid_of_words(small, write_study):
    """Cells without an energy have no map, however many they are, and images are no reason to show densities."""
    row = "  - {{datasets: [{}], objectives: [vae], priors: [normal], seeds: {}}}\n"
    grids = {"mixed": row.format("digits", [0, 1, 2]) + row.format("rings", [0]), "plane": row.format("rings", [0, 1])}
    made_cells.write_cells("results", small, arrays=False)
    for name, cells in grids.items():
        write_study(name, f"title: T\ncomparable: false\ncells:\n{cells}")
        made_cells.write_cells("results", studies.load(name).cells())
    read = [study_numbers.read_study(name, Path("results")) for name in ("small", "mixed", "plane")]
    assert overview.pictures(read)["maps_from"] == "plane"
    assert overview.pictures(read[:1])["maps"] is None


def test_the_study_page_says_what_is_there(small):
    made_cells.write_cells("results", small)
    made_cells.write_cell("results", small[0], diverged_at=99)
    build()
    words = Page(Path("reports/small/index.html")).words
    assert "31 done" in words
    assert "1 diverged" in words
    assert "3/4, 1 diverged" in words
    assert "floor: a perfect model" in words
    assert "lower is better" in words
    assert "Not comparable" not in words
    assert "0123abc00000" in words


def test_a_shortened_study_says_so_on_every_page(write_study):
    write_study("small", STUDY.format(comparable="false", length=0.1))
    made_cells.write_cells("results", studies.load("small").cells()[:6])
    build()
    for path in Path("reports/small").rglob("*.html"):
        words = Page(path).words
        assert "Not comparable with the papers" in words, path
        assert "iterations 3,000 instead of 30,000" in words
    assert "iterations 3,000 instead of 30,000" in Page(Path("reports/index.html")).words


def test_runs_that_differ_in_no_setting_are_not_called_shortened(write_study):
    write_study("small", STUDY.format(comparable="false", length=1))
    made_cells.write_cells("results", studies.load("small").cells()[:6], arrays=False)
    build()
    for path in (Path("reports/index.html"), *Path("reports/small").rglob("*.html")):
        words = Page(path).words
        assert "he papers have no numbers for these settings" in words, path
        assert "shortened" not in words
        assert "What differs" not in words


def test_a_page_says_how_its_own_cells_differ_from_the_published_ones(write_study):
    """Whatever the first cell is: a VAE has no conversion, no end of a warm-up, and a density no channels."""
    text = """
title: Own schedule
comparable: false
length: 1/10
seeds: [0, 1]
overrides: {milestones: [0.7, 0.9], warmup: 1/5, adam_at_introspection: restarted}
image_overrides: {channels: [4, 8], training_images: 500, conversion_lead: 0.05}
cells:
  - {datasets: [rings, digits], objectives: [vae], priors: [normal]}
  - {datasets: [rings, digits], objectives: [soft-introvae], priors: [mog8-fixed]}
"""
    write_study("small", text)
    made_cells.write_cells("results", studies.load("small").cells())
    build()
    of_rings = [
        "iterations 3,000 instead of 30,000",
        "milestones of the learning rate at 0.7 and 0.9 of the length instead of 0.333 and 0.5",
        "warm-up 0.2 of the length instead of 0.0667",
        "Adam's state restarted where the published code carries it into introspection",
    ]
    of_digits = [
        "channels 4, 8 instead of 32, 64",
        "training images 500 instead of 1,500",
        "conversion of the prior 0.0455 of the length instead of 0.0227",  # 4 of 88 iterations
    ]
    of_vae = of_digits[:2]  # which converts no prior
    for page, said in {
        "index.html": [*of_rings, *of_digits],
        "small/index.html": [*of_rings, *of_digits],
        "small/rings/soft-introvae/mog8-fixed/none/seed0.html": of_rings,
        "small/rings/soft-introvae/mog8-fixed/none/index.html": of_rings,
        "small/digits/soft-introvae/mog8-fixed/none/seed0.html": of_digits,
        "small/digits/soft-introvae/mog8-fixed/none/index.html": of_digits,
        "small/digits/vae/normal/none/seed0.html": of_vae,
    }.items():
        words = Page(Path("reports", page)).words
        found = [each for each in (*of_rings, *of_digits) if each in words]
        assert found == said, page
    words = Page(Path("reports/small/digits/vae/normal/none/seed0.html")).words
    assert "channels, training_images, epochs" in words
    assert "not the published all (the whole training split" in words


def test_a_schedule_in_proportion_is_no_difference():
    for name in ("table1-short", "stability", "detection"):
        for cell in studies.load(name).cells():
            told = " ".join(shortened(studies.settings(cell), cell))
            assert "warm-up" not in told, cell.path
            assert "conversion" not in told, cell.path
            assert ("milestones" in told) == (name == "table1-short")


def test_a_cell_page_shows_command_differences_and_provenance(small):
    changed = studies.settings(small[0]).model_copy(update={"beta_kl": 0.123})
    made_cells.write_cell("results", small[0], settings=changed, peak_memory_bytes=2**30)
    made_cells.write_cell("results", small[1])
    build()
    page, other = (Path("reports", *Path(cell.path).parts[1:]).with_suffix(".html") for cell in small[:2])
    words = Page(page).words
    assert f"sintro train {small[0].path}" in words
    assert "1 value differs from the published preset: beta_kl" in words
    assert "0.123" in words
    assert "State: made with other settings , trained with the settings" in words
    assert "1 GB" in words
    assert "density.png is missing" in Page(other).words


def test_a_union_shows_its_parts(small, write_study):
    write_study("other", STUDY.format(comparable="true", length=1).replace("[0, 1, 2, 3]", "[7]"))
    write_study("both", "title: Both\ninclude: [small, other]\n")
    write_study("all", "title: All\ninclude: [both]\n")
    made_cells.write_cells("results", small)
    paths = build(["all"])
    assert [path.parent.name for path in paths] == ["small", "other", "both", "all", "reports"], "parts come first"
    check_links(Path("reports"))
    assert site.present(Path("results")) == ["all", "both", "small"]
    page = Page(Path("reports/both/index.html"))
    assert "A union of" in page.words
    assert "../small/index.html" in page.links
    assert not list(Path("reports/both").rglob("seed*.html"))
    assert any(link.startswith("../small/rings/") for link in page.links)


def test_mixed_commits_and_changed_checkouts_are_flagged(small):
    made_cells.write_cells("results", small)
    made_cells.write_cell("results", small[0], commit="f" * 40, dirty=True)
    build()
    for path in ("reports/index.html", "reports/small/index.html"):
        words = Page(Path(path)).words
        assert "mixed" in words
        assert "1 cell from a changed checkout" in words


def test_where_there_is_no_commit_the_hash_of_the_sources_stands_for_it(small):
    made_cells.write_cells("results", small)
    made_cells.write_cell(
        "results", small[0], commit=None, commit_reason="git is not installed", sources_sha256="5" * 64
    )
    build()
    for path in ("reports/index.html", "reports/small/index.html"):
        words = Page(Path(path)).words
        assert "sources 555555555555" in words
        assert "mixed" in words
    page = Path("reports", *Path(small[0].path).parts[1:]).with_suffix(".html")
    assert "git is not installed" in Page(page).words


def test_equal_sources_are_one_code_on_machines_with_and_without_git(small):
    for index, cell in enumerate(small):
        commit = None if index == 0 else "a" * 40
        made_cells.write_cell("results", cell, commit=commit, sources_sha256="5" * 64)
    build()
    words = Page(Path("reports/small/index.html")).words
    assert "code aaaaaaaaaaaa" in words
    assert "mixed" not in words


def test_only_changed_cell_pages_are_rebuilt(small):
    made_cells.write_cells("results", small)
    build()
    pages = {path: path.stat().st_mtime_ns for path in Path("reports/small").rglob("seed*.html")}
    made_cells.write_cell("results", small[3], values=lambda cell, metrics: metrics | {"kl_published": 123.456})
    build()
    changed = [path for path, time in pages.items() if path.stat().st_mtime_ns != time]
    assert changed == [Path("reports", *Path(small[3].path).parts[1:]).with_suffix(".html")]
    assert "123.46" in Page(changed[0]).words


@pytest.mark.parametrize("changed", ["cells/components/door.py", "cells/origins.py", "metrics/noise.py", "report/a.py"])
def test_every_page_is_stale_once_the_code_changes_whose_text_it_shows(tmp_path, monkeypatch, changed):
    monkeypatch.setattr(writer, "REPORT", tmp_path / "report")
    path = tmp_path / changed
    path.parent.mkdir(parents=True)
    digests = set()
    for text in ("before", "after"):
        path.write_text(text)
        digests.add(writer.code_digest.__wrapped__())
    assert len(digests) == 2


def test_a_page_that_was_cut_short_is_written_again(small):
    made_cells.write_cells("results", small)
    build()
    page = sorted(Path("reports/small").rglob("seed*.html"))[0]
    whole = page.read_bytes()
    page.write_bytes(whole[:100])
    sorted(Path("reports/small").rglob("seed*.html"))[1].unlink()
    Path("reports/small/rings/vae/normal/none/index.html").write_bytes(b"")
    build()
    assert page.read_bytes() == whole
    assert len(list(Path("reports/small").rglob("seed*.html"))) == 32
    assert Path("reports/small/rings/vae/normal/none/index.html").stat().st_size > 1000
    assert not list(Path("reports").rglob("*.part"))


def test_pages_of_cells_that_left_the_study_go(small, write_study):
    made_cells.write_cells("results", small)
    build()
    write_study("small", STUDY.format(comparable="true", length=1).replace("[0, 1, 2, 3]", "[0, 1, 2]"))
    build()
    assert not list(Path("reports").rglob("seed3.html"))
    assert len(list(Path("reports").rglob("seed2.html"))) == 8


def test_without_any_result_there_is_still_a_page(small):
    assert [str(path) for path in build()] == ["reports/small/index.html", "reports/index.html"]
    assert "32 missing" in Page(Path("reports/small/index.html")).words
    assert report.build(None) == [Path("reports/index.html")]


def test_an_unknown_study_is_a_clear_error(small):
    with pytest.raises(SintroError, match="smal"):
        build(["smal"])


def test_a_folder_that_cannot_be_written_is_a_clear_error(small):
    Path("reports").write_text("in the way")
    with pytest.raises(SintroError, match="reports"):
        build()


# --- hostile results

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`${7*7}{{7*7}}"


def test_strings_of_a_results_folder_stay_text(small):
    made_cells.write_cells("results", small)
    made_cells.write_cell("results", small[0], commit=EVIL, hostname=EVIL, cpu=EVIL, device=EVIL, finished=EVIL)
    folder = Path(small[0].path)
    record = json.loads((folder / "cell.json").read_text())
    record |= {"command": EVIL, "sources": {"beta_kl": EVIL}, "settings": record["settings"] | {EVIL: EVIL}}
    record["cell"]["path"] = EVIL
    (folder / "cell.json").write_text(json.dumps(record))
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {EVIL: 1.0}))
    evil = {"status": "diverged", "reason": EVIL, "digest": studies.settings(small[1]).digest}
    Path(small[1].path, "metrics.json").write_text(json.dumps(evil))
    evil |= {"diverged_at": EVIL, "finished": EVIL}
    Path(small[3].path, "metrics.json").write_text(json.dumps(evil))
    Path(small[2].path, "metrics.json").write_text(json.dumps({"status": EVIL}))
    build()
    for path in Path("reports").rglob("*.html"):
        page = Page(path)
        assert [tag for tag, _ in page.tags].count("script") == 1, path
        assert all("onerror" not in given for _, given in page.tags)
        assert all(image["src"].startswith("data:") for image in page.images)


def test_hostile_files_do_not_stop_the_report(small):
    made_cells.write_cells("results", small)
    Path(small[0].path, "density.png").write_text("<svg onload=alert(1)>")
    Path(small[0].path, "arrays.npz").write_bytes(b"PK\x03\x04 nonsense")
    Path(small[0].path, "history.csv").write_bytes(b"\x00\xff\xfe")
    for name in ("settings", "cell", "sources", "command", "digest"):
        Path(small[1].path, "cell.json").write_text(json.dumps({name: 5}))
        build()
    Path(small[2].path, "provenance.json").write_text(
        json.dumps({"wall_seconds": "long", "peak_memory_bytes": None, "commit": 5, "finished": [], "status": "done"})
    )
    for cell, fleet in zip(small[5:8], (None, "several", 0), strict=True):
        made_cells.write_cell("results", cell, fleet=fleet)
    Path(small[3].path, "metrics.json").unlink()
    Path(small[3].path, "metrics.json").mkdir()
    np.savez(Path(small[4].path, "arrays.npz"), energy=np.array(["text"]), data=np.zeros(3), labels=np.zeros(1))
    build()
    assert "not a picture" in Page(Path("reports", *Path(small[0].path).parts[1:]).with_suffix(".html")).words
    assert "2 unreadable" in Page(Path("reports/small/index.html")).words
