"""Make ``tests/stored``: a small results folder with cells in every state, by the real commands.

    python tests/store_results.py

Run it from the repository's root; it replaces ``tests/stored/results`` and ``tests/stored/expected``. The folder stands
for results that somebody made with an older version: make it anew only when a change of results is intended and said
so. ``tests/test_stored.py`` reads it. What a test does not need (most models and pictures) is removed afterwards.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from sintro.cells.cell import Cell
from sintro.cells.studies import load, settings
from sintro.runs.results import judge

STORED = Path(__file__).parent / "stored"
STUDIES = ("stored", "stored-fleet", "stored-search", "stored-searched")
PLANE = "results/stored/8gaussians"
DIGITS = "results/stored/digits"

MIXTURE = f"{PLANE}/soft-introvae/mog4-learned-lc/clip/seed0"
DIVERGED = f"results/stored/spirals/vae-rec3{'0' * 38}-kl1/normal/none/seed0"
IMAGES = f"{DIGITS}/soft-introvae/mog4-learned/clip-resp1/seed0"
MID_RUN = f"{DIGITS}/soft-introvae/mog4-learned-lc-encoder/clip-resp1/seed0"
TO_EVALUATE = f"{DIGITS}/vae/normal/none/seed0"
OTHER_SETTINGS = f"{DIGITS}/soft-introvae-bootstrap/normal/none/seed0"
FAILED = f"{DIGITS}/soft-introvae/normal/none/seed0"
TAKEN_OVER = "results/stored-fleet/rings/soft-introvae/mog4-fixed/none/seed0"
HANDED_OVER = "results/stored-fleet/rings/soft-introvae/mog4-fixed/none/seed1"
SEARCH = [f"results/stored-search/8gaussians/vae-rec{rec}-kl0.1/normal/none/seed0" for rec in ("0.5", "1")]
SEARCHED = "results/stored-searched/8gaussians/vae/normal/none/seed0"
WITH_MODEL = (MIXTURE, IMAGES, TO_EVALUATE, HANDED_OVER)  # cells whose model.pt a test needs
EVALUATED = (
    f"{PLANE}/vae/normal/none/seed0",
    f"{PLANE}/vae/vamp4/none/seed0",
    f"{PLANE}/introvae/normal/none/seed0",
    MIXTURE,
    DIVERGED,
    IMAGES,
)


def sintro(*words: str, code: int = 0) -> str:
    """Run a command of sintro, which must end with this exit code -> what it printed."""
    made = subprocess.run([sys.executable, "-m", "sintro", *words], capture_output=True, text=True)
    if made.returncode != code:
        raise SystemExit(f"sintro {' '.join(words)} ended with {made.returncode}, not {code}: {made.stderr}")
    return made.stdout


def train(*cells: str, options: tuple[str, ...] = (), code: int = 0) -> None:
    """Train cells on one thread."""
    sintro("train", *cells, "--device", "cpu", "--threads", "1", *options, code=code)


def evaluate(*cells: str) -> None:
    """Evaluate cells on one thread."""
    sintro("evaluate", *cells, "--device", "cpu", "--threads", "1")


def stop_in_mid_run(cell: str) -> None:
    """Train a cell until its introspective phase has begun, then stop it by a signal."""
    words = ["train", cell, "--device", "cpu", "--threads", "1", "--checkpoint-every", "0"]
    training = subprocess.Popen([sys.executable, "-m", "sintro", *words])
    warmup = settings(Cell.from_path(cell)).warmup
    checkpoint = Path(cell, "checkpoint.pt")
    while training.poll() is None:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["iteration"] > warmup + 5:
            training.send_signal(signal.SIGTERM)
            break
        time.sleep(0.01)
    if training.wait() != 75:
        raise SystemExit(f"{cell} was to be stopped in mid-run, but ended with {training.returncode}")


def make() -> None:
    """Train and evaluate every cell in the working folder, as its state needs."""
    train(*EVALUATED)
    evaluate(*EVALUATED)
    train(TO_EVALUATE)
    train(OTHER_SETTINGS, options=("--iterations", "30"))
    Path(FAILED).mkdir(parents=True)
    Path(FAILED, "checkpoint.pt").write_bytes(b"cut off")
    train(FAILED, code=2)
    fleet = sintro("fleet", "stored-fleet").split()[0]
    sintro("fleet", "stored-fleet", fleet, "--device", "cpu", "--threads", "1")
    train(TAKEN_OVER)
    evaluate(TAKEN_OVER)
    train(*SEARCH)
    evaluate(*SEARCH)
    sintro("choose", "stored-search")
    train(SEARCHED)
    evaluate(SEARCHED)
    stop_in_mid_run(MID_RUN)


def remove_surplus() -> None:
    """Remove what no test reads, and the name of this machine."""
    for path in list(Path("results").rglob("*")):
        unneeded_model = path.name == "model.pt" and str(path.parent) not in WITH_MODEL
        unneeded_snapshot = path.name.startswith("snapshot-") and str(path.parent) != IMAGES
        if path.suffix in (".png", ".lock") or unneeded_model or unneeded_snapshot:
            path.unlink()
        elif path.name in ("provenance.json", "provenance.fleet.json", "failure.json"):
            content = json.loads(path.read_text())
            content |= {key: "a-node" for key in ("hostname", "host") if key in content}
            path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def pinned() -> dict[str, dict[str, str]]:
    """Every cell's digest, state and reason."""
    found = {}
    for study in STUDIES:
        for cell in load(study).cells():
            judged = judge(cell)
            found[cell.path] = {"digest": settings(cell).digest, "state": judged.state, "reason": judged.reason}
    return found


def uninterrupted(cell: str, into: Path) -> None:
    """Train a cell anew, from end to end, in a folder of its own, and store its model and history."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree("workflow", Path(folder, "workflow"))
        here = Path.cwd()
        os.chdir(folder)
        train(cell)
        os.chdir(here)
        for name in ("model.pt", "history.csv"):
            shutil.copyfile(Path(folder, cell, name), into / f"resumed-{name}")


def main() -> None:
    """Make the folder anew."""
    os.chdir(STORED)
    os.environ.pop("SINTRO_RUN", None)
    for folder in ("results", "expected"):
        shutil.rmtree(folder, ignore_errors=True)
    expected = Path("expected")
    expected.mkdir()
    make()
    remove_surplus()
    uninterrupted(MID_RUN, expected)
    (expected / "cells.json").write_text(json.dumps(pinned(), indent=1, sort_keys=True) + "\n")
    size = sum(path.stat().st_size for path in STORED.rglob("*") if path.is_file())
    print(f"{STORED}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
