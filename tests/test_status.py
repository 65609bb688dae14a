"""`sintro status`: states read from folders, the lock on a cell's folder, the time that is left."""

import itertools
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from sintro import SintroError
from sintro.__main__ import main
from sintro.basics.files import write_json
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.runs import failures, pace, processes, states, status
from sintro.runs import lock as locks
from sintro.runs.folder import cell_folder
from sintro.runs.lock import Lock
from sintro.runs.states import State

STUDY = """
title: tiny
comparable: false
seeds: [0, 1, 2, 3]
overrides: {iterations: 100, batch_size: 32, samples: 2, evaluation_grid: 16}
cells: [{datasets: [rings, spirals], objectives: [vae], priors: [normal]}]
"""


@pytest.fixture
def cells(write_study):
    write_study("tiny", STUDY)
    return studies.load("tiny").cells()


def put(cell, *names, **contents):
    for name in names:
        write_json(Path(cell.path, name), {})
    for name, value in contents.items():
        write_json(Path(cell.path, f"{name}.json"), value)


def finish(cell, *names):
    """A finished cell as its study asks for it, evaluated too."""
    outcome = {"status": "done", "digest": studies.settings(cell).digest}
    put(cell, *names, metrics=outcome, provenance=outcome | {"wall_seconds": 1.0, "iterations": 100})


def test_every_state_is_told_from_the_folders(cells, monkeypatch):
    done, diverged, going, killed, waiting, failed, evaluating, resumes = cells
    finish(done)  # its model is needed no more
    ended = {"status": "diverged", "reason": "the loss was not finite", "digest": studies.settings(diverged).digest}
    put(diverged, metrics=ended, provenance=ended)
    finish(evaluating, "model.pt")
    Path(evaluating.path, "metrics.json").unlink()
    put(resumes, "checkpoint.pt")
    failures.write(Path(failed.path), "train", "cannot write it: No space left on device", log="logs/train.log")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    progress = processes.this_one() | {"done": 5, "total": 100, "ms_per_iteration": 2.0}
    put(killed, progress=progress | {"pid": int(dead.stdout)})
    put(going, progress=progress)
    found = states.of_cells(cells)
    assert tuple(found) == cells
    assert {cell: state.name for cell, state in found.items()} == {
        done: "done",
        diverged: "diverged",
        going: "running",
        killed: "failed",
        waiting: "missing",
        failed: "failed",
        evaluating: "to evaluate",
        resumes: "missing",
    }
    assert found[failed].note == "train: cannot write it: No space left on device (log: logs/train.log)"
    assert found[diverged].note == "the loss was not finite"
    assert found[waiting].note == "not started"
    assert "after 5 of 100" in found[killed].note
    assert found[resumes].note == "goes on from its checkpoint"


def test_a_cell_that_trains_anew_is_not_done(cells):
    put(cells[0], "metrics.json", "model.pt", "cell.json")
    assert states.of_cells(cells)[cells[0]].name == "missing"


def test_no_folder_is_listed_twice_and_no_torch_is_imported(cells, monkeypatch):
    for cell in cells:
        put(cell, "cell.json")
    listed = []
    scan = os.scandir
    monkeypatch.setattr(states.os, "scandir", lambda path: listed.append(str(path)) or scan(path))
    states.of_cells(cells)
    assert len(listed) == len(set(listed)) <= len(cells) + 10
    code = "import sys, sintro.runs.status; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_says_it_all(cells, capsys):
    finish(cells[0], "model.pt")
    put(cells[1], progress=processes.this_one() | {"done": 25, "total": 100, "ms_per_iteration": 2000.0})
    failures.write(Path(cells[2].path), "train", "some reason")
    assert main(["status", "tiny"]) == 0
    printed = capsys.readouterr().out
    (row,) = (line for line in printed.splitlines() if line.startswith("│ rings"))
    assert [field.strip() for field in row.strip("│").split("│")] == [
        *("rings", "vae", "normal", "none"),
        *("1", "1", "", "1", "", "1"),
        row.strip("│").split("│")[-1].strip(),
    ]
    assert "25%" in row
    assert "train: some reason" in printed
    assert "25 of 100 iterations" in printed
    assert "1 of 8 cells" in printed


def test_on_a_terminal_the_table_lives_below_the_bars(cells, capsys, monkeypatch):
    monkeypatch.setattr(
        status, "Console", lambda **_: Console(force_terminal=True, width=150, height=40, file=sys.stdout)
    )
    finish(cells[0], "model.pt")
    put(cells[1], progress=processes.this_one() | {"done": 25, "total": 100, "ms_per_iteration": 2000.0})
    failures.write(Path(cells[2].path), "train", "some reason")
    status.watch("tiny", cells, lambda _: False)
    printed = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert "failed: rings vae normal none seed2: train: some reason" in printed
    row = next(line for line in printed.splitlines() if line.startswith("│ rings"))
    assert [field.strip() for field in row.split("│")[5:11]] == ["1", "1", "", "1", "", "1"]


def test_watching_ends_with_the_process_or_the_last_cell(cells, capsys, monkeypatch):
    monkeypatch.setattr(status, "SECONDS_BETWEEN_LOOKS", 0.01)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    looks = itertools.count()
    alive = status.while_alive(process.pid)

    def goes_on(found):
        if next(looks) == 2:
            process.communicate(b"\n")
        return alive(found)

    status.watch("tiny", cells, goes_on)
    assert "0 of 8 cells" in capsys.readouterr().err
    for cell in cells:
        finish(cell, "model.pt")
    assert main(["status", "tiny", "--watch"]) == 0
    assert "8 of 8 cells" in capsys.readouterr().err


# --- the time left


def test_time_left_is_by_shipped_numbers_until_something_was_measured(cells):
    found = dict.fromkeys(cells, State("missing"))
    known = pace.Pace(found)
    assert not known.measured
    assert "by shipped measurements" in status.overall(found, known, 2)[1]
    shipped = known.milliseconds(cells[0])
    put(cells[0], provenance={"status": "done", "wall_seconds": 50.0, "iterations": 100})
    found[cells[0]] = State("done")
    known = pace.Pace(found)
    assert known.measured
    assert known.milliseconds(cells[1]) == pytest.approx(500)
    assert known.milliseconds(cells[-1]) == pytest.approx(500, rel=0.01)  # another row, in proportion
    assert shipped < 500
    assert "shipped" not in status.overall(found, known, 2)[1]
    assert known.seconds_left(cells[0], found[cells[0]]) == 0


def test_a_running_cell_needs_what_its_own_pace_says(cells):
    found = dict.fromkeys(cells, State("missing"))
    progress = {"done": 60, "total": 100, "ms_per_iteration": 1000.0}
    found[cells[0]] = State("running", progress=progress)
    known = pace.Pace(found)
    left = known.seconds_left(cells[0], found[cells[0]])
    assert 40 < left < known.seconds_left(cells[1], found[cells[1]])


def test_wall_time_is_bounded_by_the_work_and_by_the_longest_piece():
    assert pace.wall_seconds([10, 10, 10, 10], 2) == 20
    assert pace.wall_seconds([1, 30, 1], 2) == 30
    assert pace.wall_seconds([], 2) == 0


# --- two at once

CELL = "results/tiny/rings/vae/normal/none/seed0"
HOLD = f"""
import sys
from sintro.runs.lock import Lock
with Lock({CELL!r}, 100, "cpu"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=folder, text=True, **pipes)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_is_first(cells, tmp_path):
    process = hold(tmp_path)
    before = Path(CELL, locks.NAME).read_text()
    with pytest.raises(SintroError, match=f"process {process.pid} on {platform.node()}"), Lock(CELL, 100, "cpu"):
        pass
    assert Path(CELL, locks.NAME).read_text() == before
    process.communicate("\n")
    assert not Path(CELL, locks.NAME).exists()
    with Lock(CELL, 100, "cpu"):
        assert locks.beating(CELL)["pid"] == os.getpid()
    assert not Path(CELL, locks.NAME).exists()


def test_a_dead_process_is_taken_over_and_a_reused_process_id_is_dead(cells, tmp_path, capsys):
    process = hold(tmp_path)
    process.kill()
    process.communicate()
    assert locks.beating(CELL) is None
    with Lock(CELL, 100, "cpu"):
        assert f"process {process.pid}" in capsys.readouterr().err
    path = Path(CELL, locks.NAME)
    write_json(path, processes.this_one() | {"born": "1", "done": 0, "total": 9})
    with Lock(CELL, 100, "cpu"):
        pass
    assert [entry.name for entry in Path(CELL).iterdir()] == []


@pytest.mark.parametrize("skew", [0, -3600, 3600])
def test_another_host_is_respected_until_its_heartbeat_is_old(cells, monkeypatch, skew):
    """`skew`: the other host's clock, or this one's, is wrong; the file system's is the one that counts."""
    monkeypatch.setattr(locks, "SECONDS_UNTIL_OLD", 1.0)
    path = Path(CELL, locks.NAME)
    write_json(path, processes.this_one() | {"host": "elsewhere", "done": 3, "total": 9})
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    beat = f"import os, time\nfor _ in range(40): os.utime({str(path)!r}); time.sleep(0.05)"
    process = subprocess.Popen([sys.executable, "-c", beat])
    with pytest.raises(SintroError, match=r"on elsewhere, after 3 of 9"), Lock(CELL, 100, "cpu"):
        pass
    process.kill()
    process.communicate()
    time.sleep(1.1)
    with Lock(CELL, 100, "cpu"):
        assert json.loads(path.read_text())["host"] == platform.node()


def test_a_lock_that_was_taken_over_is_noticed(cells):
    with Lock(CELL, 100, "cpu") as lock:
        write_json(Path(CELL, locks.NAME), {"host": "elsewhere", "pid": 77, "done": 0, "total": 1})
        with pytest.raises(SintroError, match="taken over by process 77 on elsewhere"):
            lock.check()
    assert locks.read(Path(CELL, locks.NAME))["pid"] == 77


def test_the_pace_follows_the_beats(cells, monkeypatch):
    clock = itertools.count(step=3.0)
    monkeypatch.setattr(locks.time, "monotonic", lambda: next(clock))
    with Lock(CELL, 100, "cpu") as lock:
        lock.begin(40)
        lock.beat(70)
        found = locks.read(lock.path)
    assert found["done"] == 70
    assert found["ms_per_iteration"] == pytest.approx(100)


def test_cells_cannot_be_elsewhere(cells, tmp_path):
    (tmp_path / "outside").mkdir()
    Path("results").mkdir(exist_ok=True)
    Path("results/tiny").symlink_to(tmp_path / "outside")
    with pytest.raises(SintroError, match="by a link"):
        cell_folder(Cell.from_path(CELL))
    assert main(["train", CELL]) == 2
    assert list((tmp_path / "outside").iterdir()) == []
    for path in ("results/../results/tiny/../../x/vae/normal/none/seed0", f"results/../../{CELL}", f"{CELL}/../seed1"):
        assert main(["train", path]) == 2
