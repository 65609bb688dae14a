"""What long work says of itself: the step that is on, how far it is, how long it still takes."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sintro.__main__ import main
from sintro.basics import progress
from sintro.basics.files import read_json
from sintro.basics.progress import Steps
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.evaluation import cell as evaluation
from sintro.evaluation import plane as density
from sintro.evaluation.images import FLOOR, REDRAWS, SELECTION, STEPS

IMAGES = "results/small/digits/vae/normal/none/seed0"
PLANE = "results/small/rings/vae/normal/none/seed0"
STUDY = """
title: small
comparable: false
seeds: [0]
overrides: {iterations: 6, batch_size: 64, samples: 2}
cells: [{datasets: [digits, rings], objectives: [vae], priors: [normal]}]
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows how long steps of another one took."""
    monkeypatch.setattr(Steps, "seconds_of", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time that passes only when a test says so."""
    moment = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: moment[0])

    def pass_(seconds: float) -> None:
        moment[0] += seconds

    return pass_


def test_nothing_is_said_of_the_time_left_before_anything_is_known(clock: Callable[[float], None]) -> None:
    steps = Steps()
    steps.plan(["a", "b"])
    steps.begin("a")
    clock(30)
    assert steps.seconds_left() is None
    assert steps.in_words() == "a, 0.5 minutes so far"


def test_a_step_is_expected_to_take_as_long_as_the_last_of_its_name_else_the_median(
    clock: Callable[[float], None],
) -> None:
    steps = Steps()
    steps.plan(["a", "b", "a", "c"])
    steps.begin("a")
    clock(60)
    steps.begin("b")
    clock(120)
    steps.begin("a")
    clock(15)
    assert steps.seconds_left() == (60 - 15) + (60 + 120) / 2
    steps.part(3_200, 50_000)
    assert steps.in_words() == "a (3,200 of 50,000), 3.2 minutes so far, about 2.2 left"
    clock(100)
    assert steps.seconds_left() == 90, "a step that takes longer than expected is about to end"


def test_the_next_work_of_the_process_knows_how_long_each_step_takes(clock: Callable[[float], None]) -> None:
    first = Steps()
    for name, seconds in (("a", 10), ("b", 200), ("end", 0)):
        first.begin(name)
        clock(seconds)
    second = Steps()
    second.plan(["a", "b"])
    second.begin("a")
    assert second.seconds_left() == 210


def test_without_a_terminal_a_line_comes_now_and_then_and_none_of_short_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Steps("short") as steps:
        steps.begin("a")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    said = ""
    with Steps("long") as steps:
        steps.plan(["a", "b"])
        steps.begin("a")
        while "long: 1/2, a, 0.0 minutes so far" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    code = (
        "import time; from sintro.basics.progress import Steps\n"
        "with Steps('[1/2] results/x') as steps:\n"
        "    steps.plan(['first', 'second']); steps.begin('first'); steps.part(5, 10); time.sleep(0.5)\n"
    )
    own, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], stderr=terminal, env=environment, check=True)
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(own, 4096):
            shown += part
    except OSError:  # its other end is closed
        pass
    os.close(own)
    assert b"[1/2] results/x" in shown
    assert b"1/2, first (5 of 10), 0.0 minutes so far" in shown


@pytest.fixture
def trained(write_study: Callable[[str, str], Path]) -> None:
    """An image cell and a 2D cell, hardly trained."""
    write_study("small", STUDY.replace("samples: 2", "samples: 2, evaluation_images: 64, evaluation_points: 64"))
    assert main(["train", IMAGES, PLANE, "--device", "cpu"]) == 0


class Told(Steps):
    """Keeps what it is told."""

    works: list = []  # noqa: RUF012

    def __init__(self, name: str = ""):
        super().__init__(name)
        self.begun, self.told = [], []
        self.works.append(self)

    def begin(self, what: str) -> None:
        super().begin(what)
        self.begun.append(what)

    def part(self, done: int, total: int) -> None:
        super().part(done, total)
        self.told.append((self.now, done, total))


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_evaluation_tells_every_step_that_it_planned_and_a_look_leaves_the_metrics_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "Steps", Told)
    monkeypatch.setattr(Told, "works", [])
    assert main(["evaluate", IMAGES, PLANE, "--device", "cpu"]) == 0
    pictures, plane = Told.works
    assert (pictures.name, plane.name) == (f"[1/2] {IMAGES}", f"[2/2] {PLANE}")
    snapshots = pictures.begun.count(SELECTION)
    assert snapshots > 1
    assert pictures.begun[1:] == [SELECTION] * snapshots + [*STEPS] * 2 + [REDRAWS, FLOOR]
    assert plane.begun == [*density.STEPS, density.REDRAWS]
    assert pictures.coming == plane.coming == [], "as many steps as were planned"
    assert (SELECTION, 64, 64) in pictures.told, "features, in images"
    grid = studies.settings(Cell.from_path(PLANE)).evaluation_grid ** 2
    assert plane.told[-1] == ("energy on the grid", grid, grid)

    before = {path: path.stat().st_mtime_ns for path in Path(IMAGES).iterdir()}
    capsys.readouterr()
    assert main(["evaluate", IMAGES, "--images", "32", "--device", "cpu"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "32 images: a look, not a result" in printed
    assert "cfid_published" in printed
    after = {path: path.stat().st_mtime_ns for path in Path(IMAGES).iterdir()}
    assert after.keys() - before.keys() == {Path(IMAGES, "look.json")}
    assert {path: after[path] for path in before} == before
    found = read_json(Path(IMAGES, "look.json"))
    assert (found["images"], found["counts"]) == (32, False)
    assert main(["evaluate", PLANE, IMAGES, "--images", "32", "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert "for image cells" in printed.err
    assert "a look, not a result" in " ".join(printed.out.split()), "one cell does not stop the other"
    for images, cell, said in (("65", IMAGES, "10 to 64"), ("9", IMAGES, "10 to 64"), ("32", PLANE, "for image cells")):
        assert main(["evaluate", cell, "--images", images, "--device", "cpu"]) == 2
        assert said in capsys.readouterr().err
