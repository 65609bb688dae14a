"""The built pages in a real browser, from the file system: clicks do what they say, and nothing is asked for."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import browser as driver
import made_cells
import pytest
from test_report import EVIL, STUDY

from sintro import report
from sintro.cells import studies
from sintro.report.pages import tables

pytestmark = pytest.mark.skipif(
    driver.find() is None, reason="needs Chromium (Debian: apt-get install chromium; or set SINTRO_CHROMIUM)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory, repository_root) -> Path:
    """A built site over a small study with a diverged, a missing and a hostile cell."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "workflow" / "studies").mkdir(parents=True)
    text = STUDY.format(comparable="false", length=0.5)
    (folder / "workflow" / "studies" / "small.yaml").write_text(text)
    for name in ("claims.yaml", "reported.csv"):
        (folder / "workflow" / name).write_text((repository_root / "workflow" / name).read_text())
    before = Path.cwd()
    os.chdir(folder)
    try:
        cells = studies.load("small").cells()
        for cell in cells[:-1]:
            made_cells.write_cell("results", cell, settings=studies.settings(cell))
        made_cells.write_cell("results", cells[3], diverged_at=17)
        made_cells.write_cell("results", cells[1], hostname=EVIL, commit=EVIL)
        report.draw_cell(Path(cells[0].path))
        report.build(["small"])
    finally:
        os.chdir(before)
    return folder / "reports"


@pytest.fixture(scope="module")
def repository_root() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tab(site):
    with driver.Browser() as opened:
        yield opened


def rows(tab) -> list[list[str]]:
    """The visible rows of the table, as the reader sees them."""
    return tab.run(
        "[...document.querySelectorAll('#table1 tbody tr')].filter(r => !r.hidden)"
        ".map(r => [...r.cells].filter(c => !c.hidden).map(c => c.textContent.trim()))"
    )


def change(tab, control: str, value: str) -> None:
    """Set a control of the table as a reader would, and let the page know."""
    tab.run(
        f"""(() => {{
        const all = [...document.querySelectorAll('#table1 [data-control={control}]')];
        const one = all.find(c => c.tagName === 'SELECT') || all.find(c => c.value === '{value}');
        if (one.tagName === 'SELECT') one.value = '{value}'; else one.checked = !one.checked || one.type === 'radio';
        one.dispatchEvent(new Event('change', {{bubbles: true}}));
        }})()"""
    )


def exported(site: Path) -> list[dict[str, str]]:
    with open(site / "small" / "tables" / "table1.csv", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(re.match(r"-?[\d.]+", text)[0])


def test_no_page_complains_or_asks_for_anything(tab, site):
    pages = [*site.glob("*.html"), site / "small" / "index.html"]
    pages += sorted(site.rglob("seed*.html"))[:4] + sorted(site.rglob("none/index.html"))[:2]
    for page in pages:
        tab.open(page)
        assert tab.problems == [], page
        folder = site.parent / "results" / page.relative_to(site).with_suffix("")
        # What a cell's page links to: the style of all such pages, and the pictures of the cell's folder.
        own = ("data:", page.resolve().as_uri(), (site / "style.css").as_uri(), f"{folder.resolve().as_uri()}/")
        assert [url for url in tab.requests if not url.startswith(own)] == []


def test_a_cell_page_shows_the_pictures_of_its_folder(tab, site):
    tab.open(site / "small" / "8gaussians" / "vae" / "normal" / "none" / "seed0.html")
    tab.run("Promise.all([...document.images].map(image => { image.loading = 'eager'; return image.decode(); }))")
    assert tab.problems == []
    shown = tab.run("[...document.images].map(image => [image.src, image.naturalWidth])")
    assert len(shown) == 5
    assert all(address.startswith("file:") and "/results/small/" in address for address, _ in shown)
    assert min(width for _, width in shown) >= 200
    assert tab.run("getComputedStyle(document.querySelector('.figures')).display") == "grid", "its style is there"


def test_hostile_strings_run_nothing(tab, site):
    page = next(p for p in sorted(site.rglob("seed1.html")) if "onerror=alert" in p.read_text())
    tab.open(page)
    assert tab.problems == []
    assert tab.run("document.scripts.length") == 1
    assert "<script>alert(1)</script>" in tab.run("document.body.innerText")


def test_every_link_leads_somewhere(tab, site):
    for page in (site / "index.html", site / "small" / "index.html"):
        tab.open(page)
        links = tab.run("[...document.querySelectorAll('a')].map(a => a.href)")
        files = [Path(link.removeprefix("file://").partition("#")[0]) for link in links]
        assert files
        assert all(file.is_file() for file in files)


def test_the_switches_show_the_exported_numbers(tab, site):
    tab.open(site / "small" / "index.html")
    wanted = [
        line for line in exported(site)
        if (line["dataset"], line["objective"], line["prior"]) == ("rings", "vae", "normal")
    ]  # fmt: skip
    for form in ("published", "standard"):
        change(tab, "form", form)
        line = next(w for w in wanted if w["form"] == form and w["metric"].startswith("kl"))
        mean = float(line["mean"])
        for spread, column in (("published", "se_published"), ("t95", "t95_half_width")):
            change(tab, "spread", spread)
            text = next(row for row in rows(tab) if row[0].startswith("normal vae"))[7]
            shown, half = text.split(" ± ")
            assert float(shown) == pytest.approx(mean, rel=0.02)
            assert float(half) == pytest.approx(float(line[column]), rel=0.06)
        change(tab, "spread", "range")
        text = next(row for row in rows(tab) if row[0].startswith("normal vae"))[7]
        assert [float(v) for v in text.split(" … ")] == pytest.approx(
            [float(line["min"]), float(line["max"])], rel=0.02
        )
    heads = tab.run("[...document.querySelectorAll('#table1 button[data-heads]')].map(b => b.textContent)")
    assert heads[0] == "normalised NLL ↓"


def test_bold_follows_the_form(tab, site):
    tab.open(site / "small" / "index.html")
    for form in ("published", "standard"):
        change(tab, "form", form)
        bold = tab.run("[...document.querySelectorAll('#table1 td.best')].length")
        shown = [line for line in exported(site) if line["form"] == form or line["metric"] == "out_of_range"]
        assert bold == sum(line["best"] == "1" for line in shown)
        assert (
            tab.run("document.querySelectorAll('#table1 td.top.best').length") == 2 * 4
        )  # one per data set and metric


def test_sorting_by_a_column(tab, site):
    tab.open(site / "small" / "index.html")
    original = rows(tab)
    click = "document.querySelector('#table1 button[data-sort=\"2\"]').click()"
    for direction, reverse in (("ascending", False), ("descending", True)):
        tab.run(click)
        values = [number(row[2]) for row in rows(tab)]
        assert values == sorted(values, reverse=reverse)
        assert tab.run("document.querySelector('#table1 th[aria-sort]').getAttribute('aria-sort')") == direction
    tab.run(click)
    assert rows(tab) == original


def test_filters_keep_the_right_rows_and_columns(tab, site):
    tab.open(site / "small" / "index.html")
    width = len(rows(tab)[0])
    change(tab, "objective", "vae")
    assert [row[0] for row in rows(tab)] == ["normal vae"]
    change(tab, "objective", "")
    change(tab, "prior", "normal")
    assert {row[0].split()[0] for row in rows(tab)} == {"normal"}
    assert tab.run("document.querySelector('#table1 [data-shown]').textContent") == "2 of 4 rows"
    change(tab, "dataset", "8gaussians")
    assert len(rows(tab)[0]) == width - 5
    tab.run("document.querySelector('#table1 [data-control=reset]').click()")
    assert len(rows(tab)) == 4
    assert len(rows(tab)[0]) == width


def test_the_address_keeps_the_state(tab, site):
    page = site / "small" / "index.html"
    tab.open(page)
    change(tab, "form", "standard")
    change(tab, "spread", "t95")
    change(tab, "prior", "normal")
    tab.run("document.querySelector('#table1 button[data-sort=\"3\"]').click()")
    change(tab, "dataset", "rings")
    seen, fragment = rows(tab), tab.run("location.hash")
    tab.open(page, fragment)
    assert rows(tab) == seen
    assert tab.run("document.querySelector('#table1 [data-control=form][value=standard]').checked")
    assert tab.problems == []


@pytest.fixture(scope="module")
def folded(site) -> Path:
    """The study's page where a table shows two of its four rows at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(site.parent)
        patch.setattr(tables, "SHOWN_AT_ONCE", 2)
        return report.build(["small"], reports=Path("folded"))[0].resolve()


def test_rows_beyond_the_first_come_when_they_are_asked_for(tab, site, folded):
    tab.open(site / "small" / "index.html")
    whole = rows(tab)
    tab.run("document.querySelector('#table1 button[data-sort=\"2\"]').click()")
    ordered = rows(tab)
    tab.open(folded)
    assert rows(tab) == whole[:2]
    shown = "document.querySelector('#table1 [data-shown]').textContent"
    button = "document.querySelector('#table1 [data-control=all]')"
    assert tab.run(shown) == "2 of 4 rows"
    tab.run("document.querySelector('#table1 button[data-sort=\"2\"]').click()")
    assert rows(tab) == ordered[:2], "all rows are sorted, and the first are shown"
    tab.run(f"{button}.click()")
    assert rows(tab) == ordered
    assert tab.run(shown) == ""
    assert tab.run(f"{button}.hidden")
    tab.run("document.querySelector('#table1 [data-control=reset]').click()")
    assert rows(tab) == whole[:2]
    assert not tab.run(f"{button}.hidden")
    change(tab, "prior", whole[3][0].split()[0])
    assert whole[3] in rows(tab)
    assert tab.problems == []


def test_without_a_script_the_other_rows_follow(site, folded):
    def texts(page: Path) -> list[str]:
        table = re.search(r'<section class="result-table" id="table1">.*?</section>', page.read_text(), re.DOTALL)[0]
        return re.findall(r"<tr data-r=.*?</tr>", table, re.DOTALL)

    assert texts(folded) == texts(site / "small" / "index.html")
    after = folded.read_text().partition("<noscript>")[2].partition("</noscript>")[0]
    assert re.findall(r"<tr data-r=.*?</tr>", after, re.DOTALL) == texts(folded)[2:]


@pytest.mark.parametrize(
    "fragment",
    ["#table1.form=evil&table1.sort=99a", "#table1.prior=<img src=x onerror=alert(1)>", "#%", "#table1.hide=,"],
)
def test_a_strange_address_does_no_harm(tab, site, fragment):
    tab.open(site / "small" / "index.html", fragment)
    assert tab.problems == []
    assert len(rows(tab)) == 4


def test_keyboard_reaches_and_works_the_table(tab, site):
    tab.open(site / "small" / "index.html")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    for _ in range(60):
        tab.press("Tab")
        if tab.run("document.activeElement.dataset.sort === '1'"):
            break
    else:
        pytest.fail("Tab never reached the first sortable head")
    assert tab.run("document.getElementById('tip').hidden") is False
    assert "Unit:" in tab.run("document.getElementById('tip').textContent")
    assert tab.run("document.activeElement.getAttribute('aria-describedby')") == "tip"
    tab.press("Enter")
    assert tab.run("document.querySelector('#table1 th[aria-sort]') !== null")
    tab.press("Escape")
    assert tab.run("document.getElementById('tip').hidden") is True


def test_a_number_leads_to_its_cells(tab, site):
    tab.open(site / "small" / "index.html")
    tab.run("document.querySelector('#table1 tbody td').click()")
    tab._loaded = False
    while not tab._loaded:
        tab._next()
    assert tab.run("location.pathname").endswith("/small/8gaussians/vae/normal/none/index.html")


def test_copy_gives_a_command_that_runs(tab, site, repository_root):
    page = site / "small" / "8gaussians" / "vae" / "normal" / "none" / "seed0.html"
    tab.open(page)
    copied, said = tab.run(
        "(async () => { let got = null; navigator.clipboard.writeText = async (text) => { got = text; };"
        "document.querySelector('button[data-copy]').click();"
        "await new Promise(r => setTimeout(r, 50));"
        "return [got, document.querySelector('button[data-copy]').textContent]; })()"
    )
    assert said == "Copied"
    assert copied == "sintro train results/small/8gaussians/vae/normal/none/seed0"
    words = shlex.split(copied)
    # The same verb's dry cousin: it reads the same path in the same way, and trains nothing.
    done = subprocess.run(
        [sys.executable, "-m", "sintro", "show", words[2]], capture_output=True, text=True, check=False,
        cwd=site.parent, env=os.environ | {"PYTHONPATH": str(repository_root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


CONTRAST = """
(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('main *, header *, footer *')) {
    if (e.closest('svg') || !e.checkVisibility()) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }
  return bad;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_to_read(tab, site, scheme):
    tab.prefer(scheme)
    for page in (site / "index.html", site / "small" / "index.html", site / "claims.html"):
        tab.open(page)
        ground = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        assert tab.run(CONTRAST) == [], page
    tab.prefer("light")


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_no_page_is_wider_than_the_window(tab, site, width):
    tab.resize(width, 800)
    cell = site / "small" / "8gaussians" / "vae" / "normal" / "none" / "seed0.html"
    for page in (*site.glob("*.html"), site / "small" / "index.html", cell, cell.with_name("index.html")):
        tab.open(page)
        assert tab.run("document.documentElement.scrollWidth") <= width, page
    tab.resize(1300, 900)


def test_pictures_and_regions_have_names(tab, site):
    for page in (
        site / "small" / "index.html",
        site / "small" / "8gaussians" / "vae" / "normal" / "none" / "seed0.html",
    ):
        tab.open(page)
        assert tab.run("[...document.images].every(i => i.alt && i.complete !== null)")
        assert tab.run("[...document.querySelectorAll('svg, [role=region]')].every(e => e.getAttribute('aria-label'))")
        assert tab.run("document.querySelectorAll('h1').length") == 1
        assert tab.run("document.documentElement.lang") == "en"


def test_without_a_script_the_published_table_is_there(site):
    text = (site / "small" / "index.html").read_text()
    assert re.search(r"<td[^>]*>\d+\.\d+ ± \d+\.\d+</td>", text)
    assert 'class="controls" hidden' in text
