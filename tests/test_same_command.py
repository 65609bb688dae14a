"""The same command goes on: whatever happened before, `snakemake` ends with every cell done or says why it cannot.

With the real snakemake on one machine; `test_slurm.py` asks the same of a cluster.
"""

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
from test_workflow import HEAD, VAE_BLOCK, Checkout

from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.runs import loading, results

SIX = HEAD.replace("seeds: [0]", "seeds: [0, 1, 2, 3, 4, 5]") + VAE_BLOCK
CELLS = [f"results/quick/rings/vae/normal/none/seed{seed}" for seed in range(6)]
PAGES = "write the pages of study quick"
FINISHED = "2026-01-01T00:10:00Z"


@pytest.fixture
def fresh(repository: Path, tmp_path: Path) -> Checkout:
    """A checkout in which nothing has run."""
    return Checkout(repository, tmp_path / "fresh")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of study `quick` with one cell, made by a run that nothing happened to; tests copy the folder."""
    checkout = Checkout(Path(__file__).parents[1], tmp_path_factory.mktemp("workflow") / "trained")
    checkout.write("quick", HEAD + VAE_BLOCK)
    checkout.snakemake()
    return checkout.folder


@pytest.fixture
def copied(trained: Path, fresh: Checkout) -> Checkout:
    """A copy as `cp -r`, rsync or git make it: times say nothing, Snakemake's notes and the model are not there."""
    shutil.rmtree(fresh.folder)
    shutil.copytree(trained, fresh.folder, ignore=shutil.ignore_patterns(".snakemake", "model.pt", ".fleets"))
    shuffled = random.Random(0)
    for path in fresh.folder.rglob("*"):
        os.utime(path, (0, shuffled.randrange(1, 2**30)))
    os.utime(fresh.folder / CELLS[0] / "provenance.json", (0, 2**30))  # the order that asks for an evaluation
    return fresh


@pytest.fixture
def six(fresh: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Six cells whose files say that they are done; nothing trained them."""
    fresh.write("quick", SIX)
    monkeypatch.chdir(fresh.folder)
    for cell in CELLS:
        digest = studies.settings(Cell.from_path(cell)).digest
        said = {"digest": digest, "status": "done", "finished": FINISHED}
        put(cell, "provenance.json", said)
        put(cell, "metrics.json", said)
        put(cell, "model.pt", {})
    return fresh


def put(cell: str, name: str, content: dict | str) -> None:
    path = Path(cell, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def change(cell: str, name: str, **values: str | None) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(Path(cell, name).read_text()) | values
    put(cell, name, {key: value for key, value in content.items() if value is not None})


def sintro(checkout: Checkout, *arguments: str) -> None:
    command = [sys.executable, "-m", "sintro", *arguments]
    subprocess.run(command, cwd=checkout.folder, env=checkout.environment(), check=True, capture_output=True)


def all_done(checkout: Checkout, *cells: str) -> bool:
    return all(checkout.json(f"{cell}/metrics.json")["status"] == "done" for cell in cells)


# --- what a cell needs


def no_model(cell: str) -> None:
    Path(cell, "model.pt").unlink()


def both_of(*changes: Callable[[str], None]) -> Callable[[str], None]:
    return lambda cell: [one(cell) for one in changes] and None


def metrics_of_other_settings(cell: str) -> None:
    change(cell, "metrics.json", digest="0" * 16)


def trained_with_other_settings(cell: str) -> None:
    for name in ("provenance.json", "metrics.json"):
        change(cell, name, digest="0" * 16)


def diverged_now(cell: str) -> None:
    change(cell, "provenance.json", status="diverged")


@pytest.mark.parametrize(
    ("happened", "need"),
    [
        (lambda cell: None, "nothing"),
        (no_model, "nothing"),
        (lambda cell: change(cell, "metrics.json", finished=None), "nothing"),  # written before it was recorded
        (lambda cell: change(cell, "metrics.json", finished="2025-01-01T00:00:00Z"), "evaluate"),
        (lambda cell: change(cell, "metrics.json", digest=None), "evaluate"),
        (lambda cell: put(cell, "metrics.json", "{"), "evaluate"),
        (lambda cell: put(cell, "metrics.json", "[]"), "evaluate"),
        (lambda cell: Path(cell, "metrics.json").unlink(), "evaluate"),
        (metrics_of_other_settings, "evaluate"),
        (both_of(metrics_of_other_settings, no_model), "train"),
        (both_of(metrics_of_other_settings, no_model, diverged_now), "evaluate"),
        (trained_with_other_settings, "train"),
        (lambda cell: put(cell, "provenance.json", "null"), "train"),
        (lambda cell: Path(cell, "provenance.json").unlink(), "train"),
        (lambda cell: shutil.rmtree(cell), "train"),
    ],
)
def test_what_a_cell_needs_its_files_say(six: Checkout, happened: Callable[[str], None], need: str) -> None:
    happened(CELLS[0])
    assert results.needed(Cell.from_path(CELLS[0])) == need
    assert results.needed(Cell.from_path(CELLS[1])) == "nothing"


def test_a_cell_that_a_fleet_trained_is_no_fleets_work(six: Checkout) -> None:
    os.replace(Path(CELLS[0], "provenance.json"), Path(CELLS[0], "provenance.fleet.json"))
    cell = Cell.from_path(CELLS[0])
    assert results.needed(cell) == "train"  # whose `sintro train` takes it over
    assert results.is_trained(cell)
    change(CELLS[0], "provenance.fleet.json", digest="0" * 16)
    assert not results.is_trained(cell)


# --- what Snakemake runs


@pytest.mark.slow
def test_snakemake_runs_what_the_files_ask_for_whatever_the_pages_say(six: Checkout) -> None:
    metrics_of_other_settings(CELLS[1])
    trained_with_other_settings(CELLS[2])
    shutil.rmtree(CELLS[3])
    Path(CELLS[4], "metrics.json").unlink()
    for page in ("reports/index.html", "reports/quick/index.html", "results/quick/chosen.json"):
        put(str(Path(page).parent), Path(page).name, "older")
    again = {f"train {CELLS[cell]}" for cell in (2, 3)} | {f"evaluate {CELLS[cell]}" for cell in (1, 2, 3, 4)}
    before = six.state()
    assert six.planned() == again | {PAGES}
    assert six.planned("reports/quick/index.html", "results/quick/chosen.json") == again | {PAGES}
    metrics = [f"{cell}/metrics.json" for cell in CELLS]
    assert six.planned(*metrics) == again
    assert six.planned(metrics[0], f"{CELLS[1]}/provenance.json") == set()
    forced = six.planned(metrics[0], "--forcerun", f"{CELLS[0]}/provenance.json")
    assert forced == {f"train {CELLS[0]}", f"evaluate {CELLS[0]}"}
    assert six.state() == before
    assert not Path("logs").exists()


@pytest.mark.slow
def test_only_fleets_in_which_a_cell_is_to_be_trained_run(six: Checkout) -> None:
    six.write("quick", SIX.replace("\noverrides", "\nfleet: 3\noverrides"))
    assert six.planned() - {PAGES} == set()  # no marker of a fleet is there: the cells are
    shutil.rmtree(CELLS[0])
    (first,) = (job for job in six.planned() if job.startswith("train fleet"))
    marker = first.split()[2] + ".done"
    put("results/quick/.fleets", marker, "")
    put("results/quick/.fleets", "all", "")
    assert first in six.planned()  # no marker is a proof
    assert six.planned(f"{CELLS[0]}/metrics.json") == {f"train {CELLS[0]}", f"evaluate {CELLS[0]}"}


@pytest.mark.slow
def test_whatever_went_wrong_the_same_command_ends_with_every_cell_done(fresh: Checkout) -> None:
    fresh.write("quick", HEAD.replace("seeds: [0]", "seeds: [0, 1]") + VAE_BLOCK)
    cells = CELLS[:2]
    sintro(fresh, "report", "quick")  # before a run
    broken = fresh.folder / cells[1]
    broken.parent.mkdir(parents=True)
    broken.symlink_to("/nowhere")
    fresh.snakemake("--keep-going", succeeds=False)
    assert all_done(fresh, cells[0])
    assert (fresh.folder / "reports/quick/index.html").exists()

    said = fresh.snakemake("--report", "snakemake.html")
    assert f"study quick: 1 of 2 cells lack their metrics and are not in the report: {cells[1]}" in said
    page = (fresh.folder / "snakemake.html").read_text()
    assert f"{cells[0]}/metrics.json" in page
    assert f"{cells[1]}/metrics.json" not in page

    broken.unlink()
    fresh.snakemake()
    assert all_done(fresh, *cells)
    shutil.rmtree(fresh.folder / cells[0])
    fresh.snakemake()
    assert all_done(fresh, *cells)
    sintro(fresh, "clean", "quick", "--everything", "--yes")
    fresh.snakemake()
    assert all_done(fresh, *cells)
    assert "Nothing to be done" in fresh.snakemake()


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_goes_on(fresh: Checkout) -> None:
    fresh.write("quick", HEAD.replace("iterations: 12", "iterations: 2500") + VAE_BLOCK)
    cell = fresh.folder / CELLS[0]
    started = subprocess.Popen(
        fresh.command(),
        cwd=fresh.folder,
        env=fresh.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=processes.hear_ctrl_c,
    )
    deadline = time.monotonic() + 120
    while not (cell / "cell.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # the first iterations
    os.killpg(started.pid, signal.SIGINT)
    assert started.wait(120) != 0
    assert not (cell / "provenance.json").exists()
    sintro(fresh, "report", "quick")  # as the handler of errors does
    fresh.snakemake()
    assert fresh.json(f"{CELLS[0]}/provenance.json")["resumed"] == 1
    assert all_done(fresh, CELLS[0])


@pytest.mark.slow
def test_copied_results_are_as_done_as_they_were(copied: Checkout) -> None:
    before = copied.state()
    metrics = f"{CELLS[0]}/metrics.json"
    assert "Nothing to be done" in copied.snakemake(metrics)
    assert copied.planned() <= {PAGES}
    copied.snakemake()
    assert copied.state() == before

    copied.snakemake(metrics, "--forcerun", "evaluate", succeeds=False)
    log = copied.folder / "logs" / CELLS[0].removeprefix("results/") / "evaluate.log"
    assert "model.pt is missing" in log.read_text()
    hashes = [{path: said[1] for path, said in state.items()} for state in (before, copied.state())]
    assert hashes[1].pop(f"{CELLS[0]}/failure.json")  # says why; nothing else is new or gone
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_what_a_killed_snakemake_left_unrecorded_is_judged_by_its_content(copied: Checkout) -> None:
    before = copied.state()
    for name in ("provenance.json", "metrics.json"):
        file = f"{CELLS[0]}/{name}"
        marker = copied.folder / ".snakemake" / "incomplete" / base64.urlsafe_b64encode(file.encode()).decode()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}")
    assert "Nothing to be done" in copied.snakemake(f"{CELLS[0]}/metrics.json")
    assert copied.state() == before


# --- what is refused when the Snakefile is read


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "study=2024"], "study '2024': legal are lower-case letters, digits, - and _, beginning with a"),
        ([CELLS[0]], f"{CELLS[0]} is a cell's folder; to train and evaluate the cell ask for {CELLS[0]}/metrics.json"),
        ([f"{CELLS[0]}/"], f"is a cell's folder; to train and evaluate the cell ask for {CELLS[0]}/metrics.json"),
        (["--report", "page.html"], "study quick: 2 of 2 cells lack their metrics: there is nothing to report yet"),
    ],
)
def test_what_makes_no_sense_is_one_line(fresh: Checkout, arguments: list[str], said: str) -> None:
    printed = fresh.snakemake(*arguments, succeeds=False)
    (line,) = (line for line in printed.splitlines() if line.startswith("error: "))
    assert said in line
    assert "Traceback" not in printed
    assert not (fresh.folder / "results").exists()


@pytest.mark.slow
def test_the_snakemake_of_another_environment_is_refused_in_one_line(fresh: Checkout, tmp_path: Path) -> None:
    other = tmp_path / "site-packages"
    old = other / "pydantic-1.10.2.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: pydantic\nVersion: 1.10.2\n")

    def refused(path: str) -> str:
        environment = fresh.environment() | {"PYTHONPATH": path}
        done = subprocess.run(
            fresh.command("--dry-run"), cwd=fresh.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert sys.executable in line
        return line

    assert "pydantic 1.10.2 is not >=2.9;" in refused(f"{other}{os.pathsep}{fresh.repository}")
    (other / "sintro").mkdir()
    (other / "sintro" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'sintro'\")")
    assert "which cannot import sintro (No module named 'sintro'); use the snakemake of" in refused(str(other))


def test_this_environment_is_what_sintro_needs() -> None:
    required = loading.required()
    assert {line.partition(">=")[0] for line in required} >= {"python", "torch", "pydantic", "snakemake"}
    assert loading.unmet(required) == []
    assert loading.unmet(["torch>=99", "no-such-package>=1"]) == [
        f"torch {loading.version_of('torch')} is not >=99",
        "there is no no-such-package",
    ]
