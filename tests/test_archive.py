"""Archives: the same bytes again, small, read as the folders that they were packed from, and never trusted."""

import csv
import io
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import made_cells
import numpy as np
import pytest
import torch
from store_results import DIVERGED, IMAGES, MIXTURE, OTHER_SETTINGS, STORED, TO_EVALUATE

from sintro import SintroError, report
from sintro.__main__ import main
from sintro.cells import studies
from sintro.data.densities import density
from sintro.report.figures.archived import pictures
from sintro.report.figures.style import relative_density
from sintro.report.numbers import archived as archived_numbers
from sintro.report.numbers.archived import Archives
from sintro.report.numbers.claim_files import FINAL
from sintro.report.numbers.claims import value_of
from sintro.report.numbers.results import Result
from sintro.report.numbers.study import read_study
from sintro.report.pages.overview import claims_view
from sintro.runs import archive, archived, states, thinning
from sintro.runs.history import COLUMNS
from sintro.runs.stored import read_arrays

STUDIES = ("stored", "stored-fleet", "stored-search")
FINISHED = 6  # cells of the study "stored"
SHIPPED = sorted((Path(__file__).parents[1] / "archive").glob("*.zip"))
Files = dict[str, bytes]


@pytest.fixture
def stored(tmp_path, monkeypatch) -> Path:
    """The working folder: a copy of the stored results."""
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def only_archived(stored) -> Path:
    """The same, where the results are gone and their archives are there."""
    for study in STUDIES:
        archive.pack(study)
    (stored / "results").rename(stored / "before")
    return stored


def results_of(study: str, root: str = "results", archives: Archives | None = None) -> dict[str, Result]:
    """A study's results by the cell's path."""
    read = read_study(study, Path(root), archives or Archives())
    return {result.cell.path: result for result in read.results}


def both(study: str) -> list[tuple[Result, Result]]:
    """The finished cells of a study: each as its folder has it, and as its archive has it."""
    opened = archived_numbers.open_all(Path("archive"), Path("reports"))
    packed = {path: one for path, one in results_of(study, archives=opened).items() if one.archived}
    original = results_of(study, "before")
    return [(original[path], one) for path, one in packed.items()]


# --- packing


def test_the_same_files_give_the_same_bytes(stored, tmp_path, capsys):
    first = archive.pack("stored").path.read_bytes()
    shutil.copytree("results", tmp_path / "copied")
    for path in (tmp_path / "copied").rglob("*"):
        os.utime(path, (1, 1))
    again = archive.pack("stored", tmp_path / "copied", tmp_path / "elsewhere")
    assert again.path.read_bytes() == first
    assert archive.pack("stored").path.read_bytes() == first, "packed over itself"
    shutil.move("results", "gone")
    assert archive.pack("stored").path.read_bytes() == first, "kept as it was"


def test_the_verb_says_what_is_packed_and_what_is_missing(stored, capsys):
    assert main(["archive", "stored", "stored-search"]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one.startswith("archive/stored.zip: 6 cells, ")
    assert "5 of the study's 11 are not in it (1 failed, 1 made with other settings, 2 missing, 1 to evaluate)" in one
    assert other.startswith("archive/stored-search.zip: 2 cells, ")
    assert "missing" not in other


def test_only_finished_cells_of_the_studys_settings_are_packed(stored):
    packed = archived.read(archive.pack("stored").path)
    assert len(packed.manifest.cells) == FINISHED
    assert {MIXTURE, IMAGES, DIVERGED} <= set(packed.manifest.cells)
    assert not {OTHER_SETTINGS, TO_EVALUATE} & set(packed.manifest.cells)
    assert packed.manifest.cells[DIVERGED].state == "diverged"
    for cell, entry in packed.manifest.cells.items():
        assert entry.digest == json.loads(Path(cell, "provenance.json").read_text())["digest"]


def test_points_are_kept_from_all_of_a_sample():
    """The first half of a sample of spirals is one arm."""
    points, arms = density("spirals").sample(5000, torch.Generator().manual_seed(0))
    kept = thinning.arrays({"energy": np.zeros((4, 4), np.float32), "data": points.numpy()}, 0)["data"]
    assert len(kept) == thinning.POINTS[0]
    found = density("spirals").locate(torch.from_numpy(kept).float())
    assert torch.bincount(found[found >= 0]).tolist() == pytest.approx([256, 256], abs=4)
    assert torch.bincount(arms).tolist() == [2500, 2500]
    few = points[:3].numpy()
    assert np.array_equal(thinning.spread_out(few, 512), few)


def test_names_of_machines_and_folders_are_not_packed(stored):
    path = Path(MIXTURE, "provenance.json")
    known = json.loads(path.read_text()) | {"hostname": "secret", "commit_reason": "/home/secret is not tracked"}
    path.write_text(json.dumps(known))
    path = Path(MIXTURE, "cell.json")
    record = json.loads(path.read_text()) | {"command": f"sintro train {MIXTURE} --threads 1 --data '/home/secret x'"}
    path.write_text(json.dumps(record))
    path = Path(IMAGES, "metrics.json")
    lacking = "no out-of-distribution images, mnist: 4 of 4 files are missing"
    known = json.loads(path.read_text()) | {"ood_missing": f"{lacking}, looked for in /home/secret x: a.gz; /secret/b"}
    path.write_text(json.dumps(known))
    files = archived.read(archive.pack("stored").path).files
    assert not any(b"secret" in content for content in files.values())
    assert json.loads(files[f"{IMAGES}/metrics.json"])["ood_missing"] == lacking
    assert json.loads(files[f"{MIXTURE}/cell.json"])["command"] == f"sintro train {MIXTURE} --threads 1"
    assert files[f"{MIXTURE}/metrics.json"] == Path(MIXTURE, "metrics.json").read_bytes()


@pytest.mark.parametrize("content", ['{"cell": ', "[]", "7"])
def test_a_finished_cell_with_a_damaged_file_is_refused_in_one_line(stored, content):
    Path(MIXTURE, "cell.json").write_text(content)
    with pytest.raises(SintroError, match=f"{MIXTURE}/cell.json is truncated or holds no JSON object"):
        archive.pack("stored")


def test_what_results_lacks_stays_in_the_archive_and_what_it_has_is_packed_anew(stored):
    archive.pack("stored")
    shutil.rmtree(IMAGES)
    path = Path(MIXTURE, "metrics.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"jsd": 0.125}))
    packed = archive.pack("stored")
    assert (packed.new, packed.kept, packed.foreign) == (FINISHED - 1, 1, 0)
    assert "1 of them kept from before" in packed.in_words()
    files = archived.read(packed.path).files
    assert json.loads(files[f"{MIXTURE}/metrics.json"])["jsd"] == 0.125
    assert f"{IMAGES}/metrics.json" in files


def test_kept_cells_of_other_settings_are_counted(stored):
    archive.pack("stored")
    path = Path("workflow/studies/stored.yaml")
    path.write_text(path.read_text().replace("seeds: [0]", "seeds: [1]"))
    shutil.move("results", "gone")
    packed = archive.pack("stored")
    assert (packed.new, packed.kept, packed.foreign) == (0, FINISHED, FINISHED)
    assert "6 made with other settings than the study asks for now" in packed.in_words()


@pytest.mark.parametrize(
    ("study", "said"), [("paper", "is a union"), ("none-such", "none-such"), ("quick", "no finished")]
)
def test_what_cannot_be_packed_is_one_line(study, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["archive", study]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("archive "))
    assert line.startswith("error: ")
    assert said in line
    assert not list(tmp_path.rglob("*.zip"))


def test_a_damaged_archive_of_before_is_never_written_over(stored, capsys):
    path = archive.pack("stored").path
    path.write_bytes(path.read_bytes()[:-100])
    damaged = path.read_bytes()
    assert main(["archive", "stored"]) == 2
    assert "refused" in capsys.readouterr().err
    assert path.read_bytes() == damaged


# --- sizes


def test_a_2d_cell_of_full_size_takes_at_most_20_kb(tmp_path):
    cells = [cell for cell in studies.load("table1").cells() if cell.seed < 1]
    for folder in made_cells.write_cells(tmp_path / "results", cells, arrays=False):
        cell = next(cell for cell in cells if folder == tmp_path / cell.path)
        np.savez(folder / "arrays.npz", **made_cells.made_arrays(cell, points=4096, grid=256))
        (folder / "history.csv").write_text(made_cells.history_text(cell, rows=3000))
    packed = archive.pack("table1", tmp_path / "results", tmp_path / "archive")
    assert packed.size <= 20_000 * len(cells)
    assert not packed.left_out


@pytest.mark.parametrize(("side", "left"), [(16, 12), (32, 6), (48, 3), (160, 0)])
def test_pictures_are_left_out_until_an_image_cell_fits(stored, side, left):
    noise = np.random.default_rng(0).random((64, 3, side, side), np.float32)
    np.savez(Path(IMAGES, "arrays.npz"), data=noise, samples=noise)
    packed = archive.pack("stored")
    content = archived.read(packed.path)
    with zipfile.ZipFile(packed.path) as opened:
        compressed = sum(one.compress_size for one in opened.infolist() if one.filename.startswith(IMAGES))
    assert compressed <= 80_000
    kept = content.files.get(f"{IMAGES}/arrays.npz")
    found = np.load(io.BytesIO(kept))["samples"] if kept else []
    assert len(found) == left
    assert ("samples" in content.manifest.cells[IMAGES].left_out) == (not left)
    assert ("1 without samples" in packed.in_words()) == (not left)


def test_translations_are_packed_and_read(stored):
    grid = np.random.default_rng(0).random((7, 7, 3, 8, 8), np.float32)
    np.savez(Path(IMAGES, "arrays.npz"), data=grid[0], translation_grid=grid)
    packed = archive.pack("stored")
    content = archived.read(packed.path)
    with np.load(io.BytesIO(content.files[f"{IMAGES}/arrays.npz"])) as found:
        np.testing.assert_allclose(found["translation_grid"], grid[:5, :5], atol=0.003)
    assert content.manifest.cells[IMAGES].left_out == (), "nothing samples from a model without a prior"


def test_a_cell_that_is_too_large_without_pictures_is_refused(stored, capsys):
    path = Path(MIXTURE, "metrics.json")
    noise = np.random.default_rng(0).random(5000).tolist()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"long": noise}))
    assert main(["archive", "stored"]) == 2
    assert f"{MIXTURE} needs more than" in capsys.readouterr().err
    assert not Path("archive").exists()


# --- thinning


def test_a_history_keeps_100_rows_and_every_columns_last_number_exactly():
    rows = [[str(i), repr(1 / (i + 3)), repr(2 / (i + 3)) if i < 777 else "", "nan"] for i in range(2001)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([["iteration", "loss_encoder", "kl_real", "x"], *rows])
    thin = list(csv.reader(io.StringIO(thinning.history(written.getvalue()))))
    assert len(thin) - 1 <= thinning.ROWS
    assert thin[1][0] == "0"
    assert thin[-1] == rows[-1]
    assert rows[776] in thin
    gaps = np.diff([int(row[0]) for row in thin[1:]])
    assert gaps.max() <= 2 * 2000 / thinning.ROWS
    for row in thin[1:]:
        assert float(row[1]) == pytest.approx(float(rows[int(row[0])][1]), rel=1e-5)


@pytest.mark.parametrize("side", [24, 64, 96, 256, 1000])
def test_a_density_map_keeps_its_grey_levels(side):
    x = np.linspace(-4, 4, side)
    energy = ((x[:, None] - 1) ** 2 + x[None] ** 2) * 3 + 5
    small = thinning.energy(energy.astype(np.float32))
    assert small.shape == (min(side, 64),) * 2
    assert small.dtype == np.float16
    shown = relative_density(small)
    assert np.abs(shown * 255 - (shown * 255).round()).max() < 0.25  # 7 nats stand for no density at all
    peak = np.unravel_index(shown.argmax(), shown.shape)
    assert x[int((peak[0] + 0.5) * side / len(small))] == pytest.approx(1, abs=0.4)
    if side <= 64:
        assert np.abs(shown - relative_density(energy)).max() <= 0.51 / 255 + 1e-3


def test_an_energy_that_is_nowhere_finite_is_left_out():
    assert thinning.energy(np.full((8, 8), np.nan)) is None
    partly = np.where(np.eye(8) > 0, np.inf, np.ones((8, 8)))
    assert np.isfinite(thinning.energy(partly)).all()


# --- the report


def rows_of_tables(folder: Path) -> dict[tuple, tuple]:
    """Number and count of seeds by table, row and metric, of what has a number."""
    found = {}
    for path in sorted(folder.glob("stored*/tables/*.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.get("mean"):
                    axes = tuple(row[name] for name in ("dataset", "objective", "prior", "regularizers", "metric"))
                    found[path.relative_to(folder), *axes] = (row["n"], row["mean"])
    return found


def test_the_tables_of_an_archive_are_those_of_its_cells(only_archived):
    report.build(list(STUDIES), results=Path("before"), reports=Path("expected"), archive=Path("none"))
    assert main(["report", *STUDIES, "--archive"]) == 0
    expected = rows_of_tables(Path("expected"))
    assert len(expected) > 80
    assert rows_of_tables(Path("reports")) == expected


def test_every_number_is_that_of_the_cells_folder(only_archived):
    pairs = [pair for study in STUDIES for pair in both(study)]
    assert len(pairs) == FINISHED + 1 + 2
    for original, packed in pairs:
        assert packed.state == original.state
        assert packed.reason == original.reason
        assert packed.metrics == original.metrics
        assert packed.extra == original.extra
        assert packed.outdated == original.outdated
        assert packed.record == original.record
        for column in COLUMNS:
            assert value_of(packed, FINAL + column) == value_of(original, FINAL + column)


def test_the_pictures_of_an_archive_are_those_of_the_cells_arrays(only_archived):
    ((original, packed),) = (pair for pair in both("stored") if pair[0].cell.path == MIXTURE)
    energy = read_arrays(original.folder / "arrays.npz", ["energy"])["energy"]
    kept = read_arrays(packed.folder / "arrays.npz")
    assert np.abs(relative_density(kept["energy"]) - relative_density(energy)).max() < 0.004
    assert set(pictures(packed)) == {"data.png", "samples.png", "density.png"}
    ((original, packed),) = (pair for pair in both("stored") if pair[0].cell.path == IMAGES)
    samples = read_arrays(original.folder / "arrays.npz", ["samples"])["samples"]
    kept = read_arrays(packed.folder / "arrays.npz")["samples"]
    levels = (np.clip(samples[: len(kept)], 0, 1) * 255).round()
    assert np.array_equal((kept.astype(np.float32) * 255).round(), levels)


def test_archived_runs_are_marked_on_every_page(only_archived):
    report.build(["stored"])
    reports = only_archived / "reports"
    entry = archived.read(Path("archive/stored.zip")).manifest.cells[MIXTURE]
    note = f"{entry.origin} (archive/stored.zip)"
    assert re.fullmatch(r"(commit|sources) [0-9a-f]{12}.*, .+, \d{4}-\d\d-\d\d", entry.origin)
    study = (reports / "stored/index.html").read_text()
    assert f"6 of 11 are archived runs: {note}" in study
    assert "(1 archived)" in study
    cell = (reports / f"{MIXTURE.removeprefix('results/')}.html").read_text()
    assert f"archived run, {note}" in cell
    assert "latent.png is not packed in the archive" in cell
    assert "density.png is not packed" not in cell
    assert f"6 of 11 are archived runs: {note}" in (reports / "index.html").read_text()


def test_claims_are_judged_on_archived_runs_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in studies.load("table1").cells() if cell.dataset == "8gaussians"]
    made_cells.write_cells(Path("before"), cells, arrays=False)
    archive.pack("table1", Path("before"))
    opened = archived_numbers.open_all(Path("archive"), Path("reports"))
    expected = claims_view([read_study("table1", Path("before"))])
    found = claims_view([read_study("table1", Path("results"), opened)])
    for view, other in zip(found, expected, strict=True):
        for study, before in zip(view["studies"], other["studies"], strict=True):
            assert study.pop("archived").startswith("40 of 160 are archived runs: commit 0123abc00000, a made-up CPU")
            assert not before.pop("archived")
            assert study == before
    assert sum(len(view["studies"]) for view in found) > 1


def test_a_cell_of_both_is_the_one_of_the_results(stored):
    archive.pack("stored")
    path = Path(MIXTURE, "metrics.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"jsd": 0.125}))
    shutil.rmtree(IMAGES)
    opened = archived_numbers.open_all(Path("archive"), Path("reports"))
    found = results_of("stored", archives=opened)
    assert found[MIXTURE].value("jsd") == 0.125
    assert not found[MIXTURE].archived
    assert found[IMAGES].archived
    assert found[IMAGES].state == "done"
    assert found[OTHER_SETTINGS].state == "made with other settings"
    report.build(["stored"], archived_only=True)
    assert "6 of 11 are archived runs" in Path("reports/stored/index.html").read_text()


def test_an_archived_run_of_other_settings_is_missing_and_says_why(only_archived):
    path = Path("workflow/studies/stored.yaml")
    path.write_text(path.read_text().replace("batch_size: 32", "batch_size: 16"))
    opened = archived_numbers.open_all(Path("archive"), Path("reports"))
    found = results_of("stored", archives=opened)[MIXTURE]
    assert (found.state, found.archived, found.metrics) == ("missing", "", {})
    assert "archive/stored.zip has it, but made with other settings" in found.reason


def test_an_archive_of_an_unknown_study_is_named(only_archived, capsys):
    Path("workflow/studies/stored.yaml").unlink()
    report.build(["stored-search"])
    assert capsys.readouterr().err == (
        "note: archive/stored.zip: no page shows its cells, since there is no study 'stored' "
        "(workflow/studies/stored.yaml)\n"
    )


def test_nothing_but_the_report_sees_an_archive(only_archived, capsys):
    archive_bytes = {path: path.read_bytes() for path in Path("archive").iterdir()}
    report.build()
    cells = studies.load("stored").cells()
    assert {state.name for state in states.of_cells(cells).values()} == {"missing"}
    for verb in ("status", "plan"):
        capsys.readouterr()
        assert main([verb, "stored"]) == 0
        assert re.search(r"\b0 of 11 cells|\b0 finished, 11 left", capsys.readouterr().out), verb
    assert main(["choose", "stored-search"]) == 2
    assert {path: path.read_bytes() for path in Path("archive").iterdir()} == archive_bytes
    assert not Path("results").exists()


def test_pages_of_an_archive_are_left_alone_the_second_time(only_archived):
    report.build(["stored"])
    page = Path("reports", MIXTURE.removeprefix("results/") + ".html")
    before = page.stat().st_mtime_ns
    report.build(["stored"])
    assert page.stat().st_mtime_ns == before


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_archives_of_this_repository_are_whole_and_of_their_studies_settings(path, tmp_path):
    manifest = archived.read(path).manifest
    assert manifest.study == path.stem
    assert path.stat().st_size <= 80_000 * len(manifest.cells)
    asked = {cell.path: studies.settings(cell).digest for cell in studies.load(path.stem).cells()}
    for cell, entry in manifest.cells.items():
        assert asked[cell] == entry.digest, cell
        assert not entry.left_out


# --- hostile archives


def rewrite(path: Path, change: Callable[[Files], None], sign: bool = True) -> None:
    """Write an archive anew with its files changed; ``sign``: its manifest names the changed files' sha256."""
    with zipfile.ZipFile(path) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    change(files)
    if sign:
        manifest = json.loads(files[archived.MANIFEST])
        for cell, entry in manifest["cells"].items():
            for name in entry["files"]:
                if f"{cell}/{name}" in files:
                    entry["files"][name] = archive.hashlib.sha256(files[f"{cell}/{name}"]).hexdigest()
        files[archived.MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)


def manifest_with(**changes) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[archived.MANIFEST] = json.dumps(json.loads(files[archived.MANIFEST]) | changes).encode()

    return change


def arrays_with(content: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({f"{MIXTURE}/arrays.npz": content})


def renamed(name: str) -> Callable[[Files], None]:
    """A cell's file under another name, in the manifest as well."""

    def change(files: Files) -> None:
        files[name] = files.pop(f"{MIXTURE}/metrics.json")

    return change


def moved_cell(path: str) -> Callable[[Files], None]:
    """A cell at another path, in the manifest as well."""

    def change(files: Files) -> None:
        manifest = json.loads(files[archived.MANIFEST])
        manifest["cells"][path] = manifest["cells"].pop(MIXTURE)
        for name in manifest["cells"][path]["files"]:
            files[f"{path}/{name}"] = files.pop(f"{MIXTURE}/{name}")
        files[archived.MANIFEST] = json.dumps(manifest).encode()

    return change


def npz(**arrays) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def squeezed(**arrays) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return made.getvalue()


def array_file(header: str, body: bytes = b"") -> bytes:
    """An ``.npz`` of one array ``energy`` with this header."""
    text = header.encode().ljust(118) + b"\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        magic = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
        opened.writestr("energy.npy", magic + text + body)
    return made.getvalue()


NUMBERS = "{'descr': '<f4', 'fortran_order': False, 'shape': "
OBJECTS = np.array([print, {"a": 1}], dtype=object)
BOMB = {f"{MIXTURE}/metrics.json": b" " * (archived.MOST_OF_A_FILE + 1)}
HOSTILE: dict[str, Callable[[Files], None]] = {
    "a name with ..": renamed("results/stored/../../../../outside/metrics.json"),
    "an absolute name": renamed("/tmp/outside/metrics.json"),
    "a backslash": renamed("results\\stored\\metrics.json"),
    "a name of nothing here": renamed("Makefile"),
    "a file that the manifest does not name": lambda files: files.update({f"{MIXTURE}x0/metrics.json": b"{}"}),
    "a cell outside of results": moved_cell("outside/stored/a/b/c/d/seed0"),
    "a cell of another study": moved_cell(MIXTURE.replace("results/stored/", "results/quick/")),
    "a cell with ..": moved_cell("results/stored/../b/c/d/seed0"),
    "a file that is missing": lambda files: files.pop(f"{MIXTURE}/metrics.json"),
    "a bomb": lambda files: files.update(BOMB),
    "no manifest": lambda files: files.pop(archived.MANIFEST),
    "a manifest that is no JSON": lambda files: files.update({archived.MANIFEST: b"{"}),
    "a manifest nested deeply": lambda files: files.update({archived.MANIFEST: b"[" * 100_000}),
    "a manifest of a later version": manifest_with(version=2),
    "a manifest of no version": manifest_with(version=None),
    "a manifest of an older kind": manifest_with(version=True),
    "a manifest with further keys": manifest_with(more=1),
    "a manifest of other types": manifest_with(cells={MIXTURE: 3}),
    "another study in the manifest": manifest_with(study="quick"),
    "pickled objects": arrays_with(npz(energy=OBJECTS)),
    "objects of no length": arrays_with(array_file("{'descr': '|O', 'fortran_order': False, 'shape': (0,), }")),
    "an array compressed once more": arrays_with(squeezed(energy=np.zeros((3000, 3000)))),
    "an array of another name": arrays_with(npz(model=np.zeros(3))),
    "an array longer than it is": arrays_with(array_file(f"{NUMBERS}(999999999,)}}")),
    "an array of vast length": arrays_with(array_file(f"{NUMBERS}(1{'0' * 30},)}}")),
    "a header that is code": arrays_with(array_file("__import__('os').system('touch outside')")),
    "a header that is no Python": arrays_with(array_file("(((((((((")),
    "arrays that are no zip": arrays_with(b"PK\x03\x04 nothing"),
}  # fmt: skip
UNSIGNED = ("no manifest", "a manifest that is no JSON", "a manifest nested deeply", "a manifest of other types")


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which the report refuses an archive; nothing of it is left anywhere."""
    before = sorted(Path.cwd().rglob("*"))
    capsys.readouterr()
    assert main(["report", "--archive"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is refused: ")
    assert len(line) < 600
    left = [one for one in sorted(Path.cwd().rglob("*")) if one not in before]
    assert [one for one in left if one.is_file()] == []
    return line


@pytest.fixture
def packed(stored) -> Path:
    """An archive, of the path that the report looks for."""
    path = archive.pack("stored").path
    shutil.rmtree("results")
    return path


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(case, packed, capsys):
    rewrite(packed, HOSTILE[case], sign=case not in UNSIGNED)
    refused(packed, capsys)


def overflowing(files: Files) -> None:
    """Make every number one of which no square is a float, and images of no height."""
    for name, content in files.items():
        if name.endswith("/metrics.json"):
            known = {key: 1e307 if isinstance(value, float) else value for key, value in json.loads(content).items()}
            files[name] = json.dumps(known | {"measurement_noise": {"kl_published": 1e308}}).encode()
        elif name.endswith("/history.csv"):
            head, first, *others = content.decode().splitlines()
            first = ",".join([first.split(",")[0], *["1e308"] * head.count(",")])
            files[name] = "\n".join([head, first, *others, ""]).encode()
        elif name.endswith("/arrays.npz"):
            files[name] = npz(samples=np.zeros((3, 1, 0, 8), np.float16))


def test_numbers_whose_squares_are_none_cost_no_page(packed, capsys):
    rewrite(packed, overflowing)
    assert main(["report", "--archive"]) == 0, capsys.readouterr().err
    assert "inf" in Path("reports/stored/index.html").read_text()


def test_a_file_of_another_sha256_is_refused(packed, capsys):
    rewrite(packed, lambda files: files.update({f"{MIXTURE}/metrics.json": b"{}"}), sign=False)
    assert f"{MIXTURE}/metrics.json has another sha256" in refused(packed, capsys)


def test_a_name_that_stands_twice_is_refused(packed, capsys):
    with zipfile.ZipFile(packed, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr(f"{MIXTURE}/metrics.json", b"{}")
    assert "stands in it twice" in refused(packed, capsys)


def test_a_link_is_refused(packed, capsys):
    with zipfile.ZipFile(packed) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(packed, "w") as made:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            if name == f"{MIXTURE}/metrics.json":
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(member, content)
    assert "is a link" in refused(packed, capsys)


def test_many_files_and_many_bytes_are_refused_before_any_is_unpacked(packed, capsys, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    monkeypatch.setattr(archived, "MOST_IN_ALL", 10_000)
    assert "would unpack to" in refused(packed, capsys)
    monkeypatch.setattr(archived, "MOST_FILES", 3)
    assert "legal are 3" in refused(packed, capsys)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_an_archive_cut_short_is_refused(share, packed, capsys):
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(share * len(whole))])
    refused(packed, capsys)


def test_a_byte_that_is_another_is_refused_or_changes_nothing(packed):
    whole = packed.read_bytes()
    expected = archived.read(packed)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        packed.write_bytes(bytes(changed))
        found, said = None, ""
        try:
            found = archived.read(packed)
        except SintroError as error:
            said = str(error)
        assert "\n" not in said
        assert said or found == expected  # a bit that no reader looks at


def test_a_folder_that_cannot_be_unpacked_to_is_one_line(packed, capsys):
    Path("reports").write_text("a file where a folder should be")
    assert main(["report", "--archive"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
