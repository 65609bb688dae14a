"""The workflow on a real Slurm of one node: what `snakemake --cores 8 --profile slurm` survives.

Where Slurm is not installed, or this process is not root, these are skipped; `tests/slurm/one_node.sh install` gets it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import processes
import pytest

REPOSITORY = Path(__file__).parents[1]
NODE = REPOSITORY / "tests" / "slurm" / "one_node.sh"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
STUDY = """
title: Tiny
comparable: false
seeds: [0]
overrides: {{iterations: {iterations}, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}}
cells:
  - {{datasets: [{datasets}], objectives: [vae], priors: [normal]}}
"""
QUICKLY = ("--seconds-between-status-checks", "1", "--slurm-init-seconds-before-status-checks", "1")
RINGS, SPIRALS = (f"results/paper/{dataset}/vae/normal/none/seed0" for dataset in ("rings", "spirals"))
PATIENCE = 240


def why_not() -> str:
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"there is no {', '.join(missing)}; tests/slurm/one_node.sh install gets Slurm"
    return "" if os.geteuid() == 0 else "starting a Slurm needs root"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One node with GPUs that are none; one that runs already is left running."""
    running = subprocess.run(["sinfo", "--version"], capture_output=True, check=False).returncode == 0
    running &= subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode == 0
    started = subprocess.run([NODE, "start"], capture_output=True, text=True, check=False)
    if started.returncode:
        pytest.skip(f"Slurm could not be started: {started.stderr.strip()}")
    yield
    if not running:
        subprocess.run([NODE, "stop"], capture_output=True, check=True)


class Login:
    """A checkout on the login node."""

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, folder: Path, datasets: str = "rings", iterations: int = 400):
        self.folder, self.log = folder, folder / "snakemake.log"
        studies = folder / "workflow" / "studies"
        for part in ("rules", "schemas", "report"):
            shutil.copytree(REPOSITORY / "workflow" / part, folder / "workflow" / part)
        for profile in ("slurm", "profiles"):
            shutil.copytree(REPOSITORY / profile, folder / profile)
        shutil.copy(REPOSITORY / "Snakefile", folder)
        studies.mkdir()
        (studies / "paper.yaml").write_text(STUDY.format(datasets=datasets, iterations=iterations))
        self.environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self.python = sys.executable

    def start(self, *options: str) -> subprocess.Popen:
        """The exact command, and options."""
        command = [self.python, "-m", "snakemake", "--cores", "8", "--profile", "slurm", *options]
        with self.log.open("a") as log:
            log.write(f"{' '.join(command[2:])}\n")
            log.flush()
            pipes = {"stdout": log, "stderr": subprocess.STDOUT, "preexec_fn": processes.hear_ctrl_c}
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **pipes)
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen) -> int:
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            pytest.fail(f"not done after {PATIENCE} s:\n{self.said()}")

    def run(self, *options: str) -> int:
        return self.end(self.start(*options))

    def said(self) -> str:
        logs = "".join(f"\n{path}:\n{path.read_text()}" for path in sorted(self.folder.glob("logs/**/*.log")))
        return self.log.read_text() + logs

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())

    def jobs(self, *columns: str) -> list[str]:
        """All jobs of this checkout that Slurm remembers, with these columns of squeue."""
        run_ids = re.findall(r"SLURM run ID: (\S+)", self.log.read_text())
        command = ["squeue", "--noheader", "--states=all", "--name", ",".join(run_ids), "--Format", ",".join(columns)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [" ".join(line.split()) for line in printed.splitlines()]

    def training(self, process: subprocess.Popen, after: int = 0) -> int:
        """Wait until another process than `after` trains the cell -> its process id."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                found = self.json(f"{RINGS}/progress.json")["pid"]
            except (OSError, ValueError):
                found = after
            if found != after:
                return found
            time.sleep(0.05)
        pytest.fail(f"no training began:\n{self.said()}")

    def bits(self) -> list[bytes]:
        return [(self.folder / RINGS / name).read_bytes() for name in ("model.pt", "history.csv")]

    def locally(self, folder: Path) -> list[bytes]:
        """The same cell, trained here by nobody's leave."""
        shutil.copytree(self.folder / "workflow", folder / "workflow")
        command = [sys.executable, "-m", "sintro", "train", RINGS, "--threads", "1"]
        subprocess.run(command, cwd=folder, env=self.environment, check=True, capture_output=True)
        return [(folder / RINGS / name).read_bytes() for name in ("model.pt", "history.csv")]


def eventually(true: Callable[[], bool], login: Login) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, login.said()
        time.sleep(0.2)


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """A test that failed leaves no workflow behind."""
    yield
    while Login.started:
        process = Login.started.pop()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_the_exact_command_goes_from_nothing_to_the_pages(tmp_path: Path) -> None:
    login = Login(tmp_path, "rings, spirals", iterations=30)
    assert login.run() == 0, login.said()
    for cell in (RINGS, SPIRALS):
        assert login.json(f"{cell}/metrics.json")["status"] == "done"
    assert (tmp_path / "reports" / "paper" / "index.html").exists()
    assert "Nothing to be done" in login.said() or login.run() == 0
    assert set(login.jobs("state", "tres-per-job")) == {"COMPLETED N/A"}  # in the plane nobody needs a GPU
    assert len(login.jobs("jobid")) == 4


def test_gpus_are_asked_for_and_the_environment_names_the_partition(tmp_path: Path) -> None:
    login = Login(tmp_path, iterations=30)
    login.environment["SBATCH_PARTITION"] = "spare"
    options = ("--config", "study=paper", "gpus=all", "device=cpu")
    assert login.run(f"{RINGS}/metrics.json", *QUICKLY, *options) == 0, login.said()
    assert set(login.jobs("state", "tres-per-job", "partition")) == {"COMPLETED gres:gpu:1 spare"}


def test_pre_empted_cancelled_and_interrupted_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    login = Login(tmp_path / "cluster")
    first = login.start(f"{RINGS}/metrics.json", *QUICKLY)
    trainer = login.training(first)
    (job,) = login.jobs("jobid")
    subprocess.run(["scancel", "--signal=USR1", job], check=True)  # how a job is warned
    trainer = login.training(first, after=trainer)
    urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True)  # takes the whole node away
    trainer = login.training(first, after=trainer)
    assert "PREEMPTED" in login.jobs("state")
    assert login.json(f"{RINGS}/cell.json")
    subprocess.run(["scancel", max(login.jobs("jobid"), key=int)], check=True)
    login.training(first, after=trainer)
    first.send_signal(signal.SIGINT)  # Ctrl-C
    assert login.end(first) != 0
    eventually(lambda: not set(login.jobs("state")) & {"RUNNING", "COMPLETING", "PENDING"}, login)
    assert not (login.folder / RINGS / "provenance.json").exists()
    assert (login.folder / RINGS / "checkpoint.pt").exists()
    assert login.run(f"{RINGS}/metrics.json", *QUICKLY) == 0, login.said()
    assert login.json(f"{RINGS}/provenance.json")["resumed"] == 4, login.said()
    assert login.bits() == login.locally(tmp_path / "here")
    asked = set(login.jobs("minmemory", "timelimit"))
    assert {"4000M 4:00:00", "8000M 8:00:00", "12000M 12:00:00"} < asked  # every try asks for more


def test_out_of_time_it_goes_on_with_more(tmp_path: Path) -> None:
    login = Login(tmp_path, iterations=1_000_000)
    first = login.start(f"{RINGS}/provenance.json", *QUICKLY, "--set-resources", "train:runtime=attempt")
    trainer = login.training(first)
    login.training(first, after=trainer)
    log = tmp_path / "logs" / RINGS.removeprefix("results/") / "train.log"
    eventually(lambda: f"resuming {RINGS} after" in log.read_text(), login)
    first.send_signal(signal.SIGINT)
    assert login.end(first) != 0
    limits = sorted(login.jobs("timelimit"))  # two, and more where the machine is too slow to be met within two minutes
    assert limits == [f"{tried}:00" for tried in range(1, max(2, len(limits)) + 1)]


def test_one_that_fails_stops_no_other_and_the_pages_say_so(tmp_path: Path) -> None:
    login = Login(tmp_path, "rings, spirals", iterations=30)
    (tmp_path / SPIRALS).parent.mkdir(parents=True)
    (tmp_path / SPIRALS).symlink_to("/nowhere")
    assert login.run(*QUICKLY, "--retries", "0") != 0
    said = login.log.read_text()
    assert login.json(f"{RINGS}/metrics.json")["status"] == "done", login.said()
    assert f"unreadable: {SPIRALS}: " in said.split("study paper:")[0]  # by `sintro status`
    assert said.splitlines()[-1].startswith(f"failed: train {SPIRALS}: ")
    page = (tmp_path / "reports" / "paper" / "index.html").read_text()
    assert "spirals" in page
    assert f"logs/{SPIRALS.removeprefix('results/')}/train.log" in said
    assert "by a link" in said.splitlines()[-1]  # the cause of what failed is the last thing shown


def test_the_same_command_goes_on_until_every_cell_is_done(tmp_path: Path) -> None:
    login = Login(tmp_path, "rings, spirals", iterations=1500)
    first = login.start(*QUICKLY)
    login.training(first)
    first.send_signal(signal.SIGINT)
    assert login.end(first) != 0
    eventually(lambda: not set(login.jobs("state")) & {"RUNNING", "COMPLETING", "PENDING"}, login)
    report = [sys.executable, "-m", "sintro", "report", "paper"]  # pages are no proof that a cell is done
    subprocess.run(report, cwd=tmp_path, env=login.environment, check=True, capture_output=True)
    assert login.run(*QUICKLY) == 0, login.said()
    assert login.json(f"{RINGS}/provenance.json")["resumed"] == 1
    assert login.json(f"{SPIRALS}/metrics.json")["status"] == "done"
    shutil.rmtree(tmp_path / RINGS)
    assert login.run(*QUICKLY) == 0, login.said()
    assert login.json(f"{RINGS}/metrics.json")["status"] == "done"

    (tmp_path / SPIRALS / "model.pt").unlink()
    metrics = (tmp_path / SPIRALS / "metrics.json").read_bytes()
    assert login.run(f"{SPIRALS}/metrics.json", "--forcerun", "evaluate", "--retries", "1", *QUICKLY) != 0
    assert (tmp_path / SPIRALS / "metrics.json").read_bytes() == metrics, login.said()
    assert login.run(f"{SPIRALS}/metrics.json", *QUICKLY) == 0, login.said()
    assert "Nothing to be done" in login.log.read_text()


def test_what_slurm_refuses_is_named_by_status_pages_and_the_last_line(tmp_path: Path) -> None:
    login = Login(tmp_path, iterations=30)
    login.environment["SBATCH_PARTITION"] = "nope"
    assert login.run(*QUICKLY, "--retries", "1") != 0
    partition = f"{RINGS}: Slurm refused the job: invalid partition specified: nope"
    said = login.log.read_text()
    assert said.splitlines()[-1].startswith(f"failed: train {partition}")
    assert "(log: .snakemake/log/" in said.splitlines()[-1]
    assert login.json(f"{RINGS}/failure.json")["deterministic"]
    assert "invalid partition specified: nope" in (tmp_path / "reports" / "paper" / "index.html").read_text()
    del login.environment["SBATCH_PARTITION"]
    assert (
        login.run(f"{RINGS}/metrics.json", *QUICKLY, "--retries", "0", "--set-resources", "train:mem_mb=99000000") != 0
    )
    assert "Memory specification can not be satisfied" in login.log.read_text().splitlines()[-1]
    command = [sys.executable, "-m", "sintro", "status", "paper"]
    options = {"cwd": tmp_path, "env": login.environment, "capture_output": True, "text": True}
    status = subprocess.run(command, check=True, **options).stdout
    assert f"failed: {RINGS}: train: Slurm refused the job: Memory specification" in status
    assert "MB 99000000" in status


def test_a_job_that_dies_before_python_starts_is_named(tmp_path: Path) -> None:
    login = Login(tmp_path / "checkout", iterations=30)
    python = tmp_path / "python"  # works here, and not in a job
    python.write_text(
        f"""#!/bin/bash
if [[ "$*" == *"--mode remote"* ]]; then echo "python: cannot open libx.so.1" >&2; exit 127; fi
exec -a {python} {Path(sys.executable).resolve()} "$@"
"""
    )
    python.chmod(0o755)
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    login.environment["PYTHONPATH"] += f"{os.pathsep}{packages}"
    login.python = str(python)
    assert login.run(f"{RINGS}/metrics.json", *QUICKLY, "--retries", "0") != 0
    last = login.log.read_text().splitlines()[-1]
    assert last.startswith(f"failed: train {RINGS}: python: cannot open libx.so.1 (log: logs/slurm/rule_train/")
    failure = login.json(f"{RINGS}/failure.json")
    assert (failure["step"], failure["deterministic"]) == ("train", False)
    assert (login.folder / failure["log"]).read_text() == "python: cannot open libx.so.1\n"
    login.python = sys.executable
    assert login.run(f"{RINGS}/provenance.json", *QUICKLY) == 0, login.said()  # mended
    assert not (login.folder / RINGS / "failure.json").exists()


def test_a_second_workflow_at_once_is_refused(tmp_path: Path) -> None:
    login = Login(tmp_path, iterations=30)
    first = login.start(f"{RINGS}/metrics.json", *QUICKLY)
    login.training(first)
    assert login.run(f"{RINGS}/metrics.json", *QUICKLY) != 0
    assert "cannot be locked" in login.said()
    other = login.start(f"{SPIRALS}/metrics.json", *QUICKLY)  # other cells, which the first one does not make
    for process, cell in ((first, RINGS), (other, SPIRALS)):
        assert login.end(process) == 0, login.said()
        assert login.json(f"{cell}/metrics.json")["status"] == "done"


def test_doctor_looks_at_a_compute_node(tmp_path: Path) -> None:
    login = Login(tmp_path)
    command = [sys.executable, "-m", "sintro", "doctor", "--gpu"]
    done = subprocess.run(command, cwd=tmp_path, env=login.environment, capture_output=True, text=True, check=False)
    rows = [[field.strip() for field in line.strip("│").split("│")] for line in done.stdout.splitlines()]
    states = {tuple(row[:2]): row[2] for row in rows if len(row) == 4}
    assert states["compute node", "shared file system"] == "ok", done.stdout + done.stderr
    assert states["compute node", "results"] == "ok"
    assert states["here", "torch"] in ("ok", "note")
    for what in ("python", "torch", "GPU driver", "disk", "digits", "mnist", "Inception weights"):
        assert states["compute node", what] in ("ok", "note", "bad"), done.stdout  # looked at there as well
