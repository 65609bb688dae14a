"""What `make demo` runs: success and failure, as a newcomer sees them; stopped, it leaves nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest

from sintro.runs import demo

STUDY = "title: S\nseeds: [0]\ncells:\n  - {datasets: [rings], objectives: [vae], priors: [normal]}\n"
TINY = """
title: Tiny
comparable: false
seeds: [0]
overrides: {iterations: 100000, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}
cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]
"""
CELL = "results/tiny/rings/vae/normal/none/seed0"
Write = Callable[[str, str], Path]


def test_a_run_ends_with_the_page(write_study: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_study("small", STUDY)
    Path("Snakefile").write_text("rule all:\n    output: 'made'\n    shell: 'touch made'\n")
    assert demo.run("small", "1") == 0
    assert Path("made").exists()
    printed = capsys.readouterr()
    assert printed.out.startswith("Done. The page: file://")
    assert "snakemake --cores 1 --config study=small" in printed.err
    assert "study small" in printed.err, "what is running, and how long it takes"


def test_a_failed_run_shows_the_end_of_its_log_and_its_exit_code(
    write_study: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("small", STUDY)
    assert demo.run("small", "1") != 0, "there is no Snakefile here"
    printed = capsys.readouterr()
    assert "Snakefile" in printed.err
    assert "error: snakemake ended with exit code 1; all it said: logs/demo-small.log" in printed.err
    assert printed.out == ""


def test_an_unknown_study_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", "quik"])
    assert demo.main() == 2
    assert capsys.readouterr().err.startswith("error: study 'quik' is not one of")


def test_a_place_for_logs_that_is_none_is_one_line(
    write_study: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("small", STUDY)
    Path("logs").write_text("")
    monkeypatch.setattr(sys, "argv", ["demo", "small"])
    assert demo.main() == 2
    assert capsys.readouterr().err == "error: logs: File exists\n"


def start(repository: Path, folder: Path) -> subprocess.Popen:
    """Begin the demo of a small study, as the first process of a session of its own, as in a terminal."""
    for part in ("rules", "schemas", "report"):
        shutil.copytree(repository / "workflow" / part, folder / "workflow" / part)
    shutil.copy(repository / "Snakefile", folder)
    (folder / "workflow" / "studies").mkdir()
    (folder / "workflow" / "studies" / "tiny.yaml").write_text(TINY)
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    command = [sys.executable, "-m", "sintro.runs.demo", "tiny", "1"]
    return subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=processes.hear_ctrl_c, **pipes)


def in_session(leader: int) -> list[str]:
    """The processes of a session that run."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"] or []))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False], ids=["ctrl-c", "killed"])
def test_stopping_it_stops_everything_and_keeps_the_checkpoint(repository: Path, tmp_path: Path, to_all: bool) -> None:
    process = start(repository, tmp_path)
    end = time.monotonic() + 120
    while not (tmp_path / CELL / "progress.json").exists():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    if to_all:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert (tmp_path / CELL / "checkpoint.pt").exists()
    while alive := in_session(process.pid):
        assert time.monotonic() < end + 60, alive
        time.sleep(0.2)
