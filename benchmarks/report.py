"""How long the report takes over everything the papers ran: 5,332 cells in the plane and 297 of images, made up.

Run from the repository root: `python benchmarks/report.py [folder]`. It writes some GB below the folder (by default a
temporary one). It prints time and peak memory of a first build and of one after a single cell changed, and sizes, and
how long Chromium, where it is installed, takes to open the largest study's page.
The aim: under 2 minutes of an idle core, 2 GiB, and 200 MB for all pages.
"""

import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import browser  # noqa: E402
import made_cells  # noqa: E402

from sintro import report  # noqa: E402
from sintro.cells import studies  # noqa: E402
from sintro.report import draw_cell  # noqa: E402


def prepare(folder: Path) -> int:
    """Write the study files and every cell's folder; figures are drawn once and copied -> how many cells."""
    for name in ("table1", "search2d", "table2", "paper"):
        text = (ROOT / "workflow" / "studies" / f"{name}.yaml").read_text()
        (folder / "workflow" / "studies" / f"{name}.yaml").write_text(text)
    for name in ("claims.yaml", "reported.csv"):
        (folder / "workflow" / name).write_text((ROOT / "workflow" / name).read_text())
    count, drawn = 0, None
    for name in ("table1", "search2d", "table2"):
        for cell in studies.load(name).cells():
            made = made_cells.write_cell("results", cell, arrays=drawn is None, figures_from=drawn)
            if drawn is None:
                draw_cell(made)
                drawn = made
            count += 1
    return count


def timed_build(label: str) -> None:
    """Build everything, and say what it took."""
    start, used = time.perf_counter(), time.process_time()
    report.build(None)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    elapsed, busy = time.perf_counter() - start, time.process_time() - used
    print(f"{label}: {elapsed:.1f} s ({busy:.1f} s of CPU), peak {memory:.2f} GiB", flush=True)


def main(folder: Path) -> None:
    """Prepare, build twice, and print sizes."""
    (folder / "workflow" / "studies").mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    print(f"{prepare(folder)} cells written", flush=True)
    timed_build("first build")
    made_cells.write_cell("results", studies.load("search2d").cells()[100], arrays=False, peak_memory_bytes=1)
    timed_build("build after one cell changed")
    for page in sorted(Path("reports").glob("*.html")) + sorted(Path("reports").glob("*/index.html")):
        print(f"{page}: {page.stat().st_size / 1e6:.2f} MB")
    pages = [path.stat().st_size for path in Path("reports").rglob("*.html")]
    print(f"{len(pages)} pages, {sum(pages) / 1e6:.0f} MB")
    if browser.find():
        largest = max(Path("reports").glob("*/index.html"), key=lambda page: page.stat().st_size)
        print(f"Chromium opens {largest} in {' '.join(f'{one:.2f}' for one in opening_seconds(largest))} s")


def opening_seconds(page: Path, times: int = 5) -> list[float]:
    """Open a page in Chromium, and measure from the start of the navigation to the first frame after the load."""
    frame = "new Promise(told => requestAnimationFrame(() => setTimeout(() => told(performance.now()))))"
    with browser.Browser() as tab:
        found = []
        for _ in range(times):
            tab.open(page)
            found.append(tab.run(frame) / 1000)
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with TemporaryDirectory() as temporary:
            main(Path(temporary))
