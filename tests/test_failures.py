"""Why a step failed: written down, cleared, told apart from what passes, and refused at once within one workflow."""

import errno
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sintro import PassingError, SintroError
from sintro.__main__ import main
from sintro.basics.files import load_tensors, write_json
from sintro.cells.cell import Cell
from sintro.runs import failures, jobs, places, states, stored
from sintro.runs.lock import BusyError

TINY = """
title: Tiny
comparable: false
seeds: [0]
overrides: {iterations: 12, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}
cells:
  - {datasets: [rings, spirals], objectives: [vae], priors: [normal]}
"""
CELL = "results/tiny/rings/vae/normal/none/seed0"
OTHER = CELL.replace("rings", "spirals")


@pytest.fixture
def tiny(write_study, monkeypatch):
    write_study("tiny", TINY)
    monkeypatch.delenv(failures.RUN, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return Path.cwd()


def caused_by(number: int) -> SintroError:
    error = SintroError("cannot write x")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (SintroError("study 'x' has no data"), True),
        (PassingError("sees no GPU"), False),
        (BusyError(Path("x"), {}), False),
        (caused_by(errno.ENOSPC), False),
        (caused_by(errno.EDQUOT), False),
        (caused_by(errno.ESTALE), False),
        (caused_by(errno.EIO), False),
        (caused_by(errno.EACCES), True),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), True),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), False),
        (MemoryError(), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("shapes differ"), True),
    ],
)
def test_what_the_same_command_meets_again_is_told_from_what_passes(error: Exception, stays: bool) -> None:
    assert failures.is_deterministic(error) is stays


def failing(number: int):
    def read(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return read


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_does_not_give_a_file_is_not_called_damage(tmp_path, monkeypatch, number) -> None:
    import torch

    path = tmp_path / "model.pt"
    path.write_bytes(b"whole")
    monkeypatch.setattr(torch, "load", failing(number))
    with pytest.raises(SintroError) as tensors:
        load_tensors(path, "delete it")
    assert str(tensors.value) == f"cannot read {path}: {os.strerror(number)}"
    write_json(tmp_path / "provenance.json", {"status": "done"})
    monkeypatch.setattr("builtins.open", failing(number))
    with pytest.raises(SintroError) as json_file:
        stored.read_provenance(tmp_path)
    with pytest.raises(SintroError) as arrays:
        stored.read_arrays(path)
    stays = [failures.is_deterministic(found.value) for found in (tensors, json_file, arrays)]
    assert stays == [number == errno.EACCES] * 3


def test_too_little_memory_for_a_file_is_no_damage_either(tmp_path, monkeypatch) -> None:
    import torch

    def fill(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(torch, "load", fill)
    with pytest.raises(MemoryError):
        load_tensors(tmp_path / "model.pt", "delete it")


def test_the_innermost_writes_and_nothing_is_swallowed(tiny) -> None:
    outer, inner = Path(OTHER), Path(CELL)
    outer.mkdir(parents=True)
    inner.mkdir(parents=True)
    with (
        pytest.raises(ZeroDivisionError),
        failures.recording("train", {outer: "a", inner: "b"}),
        failures.recording("train", {inner: "b"}),
    ):
        1 / 0  # noqa: B018
    found = failures.read(inner)
    assert (found.message, found.digest, found.exit_code) == ("ZeroDivisionError: division by zero", "b", 1)
    assert failures.read(outer) is None
    with pytest.raises(BusyError), failures.recording("train", {outer: "a"}):
        raise BusyError(outer, {})
    assert failures.read(outer) is None
    failures.clear(inner, "evaluate")
    assert failures.read(inner) is not None
    failures.clear(inner, "train")
    assert failures.read(inner) is None


def test_a_failed_step_is_written_down_seen_and_cleared_by_the_next_try(tiny, capsys) -> None:
    folder = Path(CELL)
    assert main(["evaluate", CELL]) == 2  # it is not trained
    assert not folder.exists()  # nothing is made for a mistake of the one who types
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert main(["train", CELL, "--threads", "1"]) == 2
    found = failures.read(folder)
    assert (found.step, found.deterministic, found.exit_code, found.run) == ("train", True, 2, None)
    assert f"error: {found.message}" in capsys.readouterr().err
    state = states.of_cells([Cell.from_path(CELL)])[Cell.from_path(CELL)]
    assert state.name == "failed"
    assert found.message in state.note
    assert main(["train", CELL, "--threads", "1"]) == 2  # typed again it is tried again
    (folder / "checkpoint.pt").unlink()
    assert main(["train", CELL, "--threads", "1"]) == 0
    assert not (folder / failures.NAME).exists()


def test_one_bad_cell_is_written_down_as_the_bad_one(tiny) -> None:
    for path in (CELL, OTHER):
        Path(path).mkdir(parents=True)
    (Path(OTHER) / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert main(["train", CELL, OTHER, "--threads", "1", "--fleet", "2"]) == 2
    assert failures.read(Path(OTHER)) is not None
    assert failures.read(Path(CELL)) is None


def test_within_one_workflow_a_cause_that_stays_is_not_tried_again(tiny, monkeypatch, capsys) -> None:
    folder = Path(CELL)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    monkeypatch.setenv(failures.RUN, "first")
    assert main(["train", CELL, "--threads", "1"]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    (folder / "checkpoint.pt").unlink()  # mended, yet the workflow that goes on does not know
    script = f"import sys; from sintro.__main__ import main; print(main(['train', {CELL!r}]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"  # at once
    assert done.stderr == f"{said}\n"
    monkeypatch.setenv(failures.RUN, "second")
    assert main(["train", CELL, "--threads", "1"]) == 0


def test_a_cause_that_passes_is_tried_again_in_the_same_workflow(tiny, monkeypatch) -> None:
    monkeypatch.setenv(failures.RUN, "one")
    failures.write(Path(CELL), "train", "the disk was full")
    assert main(["train", CELL, "--threads", "1"]) == 0
    failures.write(Path(CELL), "train", "another step's", deterministic=True)
    assert main(["evaluate", CELL, "--threads", "1"]) == 0


# --- jobs

REFUSED = """SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: nope
sbatch: error: Batch job submission failed: Invalid partition name specified'.
    sbatch call:
        sbatch --parsable -p nope -t 240 --mem 4000 --ntasks=1 -D /x --wrap="python -p other"
For further error details see the cluster/cloud log"""
ENDED = "SLURM-job '17' failed, SLURM status is: '{}'. Detailed failure reason unavailable"
NESTED = "host: node7\nBuilding DAG of jobs...\nUsing shell: /usr/bin/bash\n"


@pytest.mark.parametrize(
    ("message", "slurm", "own", "words"),
    [
        (REFUSED, None, None, "Slurm refused the job: invalid partition specified: nope; Batch job submission failed"),
        (
            "Job submission failed with exception: [Errno 2] No such file or directory: 'sacct'",
            None,
            "stopped by SIGINT after 23 iterations",
            "Slurm could not be asked: [Errno 2] No such file or directory: 'sacct'",
        ),
        (ENDED.format("OUT_OF_MEMORY"), NESTED, "x: 3/9, 1 ms", "it needed more memory than it had asked for"),
        (ENDED.format("TIMEOUT"), NESTED, "x: 3/9, 1 ms", "its time was up"),
        (ENDED.format("NODE_FAIL"), None, "x: 3/9, 1 ms", "its node failed"),
        (
            ENDED.format("FAILED"),
            f"{NESTED}slurmstepd: error: Detected 1 oom_kill event in StepId=17.0. Some of the step tasks",
            "x: 3/9, 1 ms",
            "it needed more memory than it had asked for",
        ),
        (
            ENDED.format("FAILED"),
            f"{NESTED}slurmstepd: error: *** STEP 17.0 ON node7 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT ***",
            None,
            "its time was up",
        ),
        (ENDED.format("FAILED"), f"{NESTED}srun: error: node7: task 0: Killed", "x: 3/9, 1 ms", "killed (SIGKILL)"),
        (ENDED.format("FAILED"), "/bin/sh: 1: /x/python: not found\n", None, "/bin/sh: 1: /x/python: not found"),
        (
            ENDED.format("FAILED"),
            "Traceback (most recent call last):\nModuleNotFoundError: No module named 'snakemake'\n"
            "srun: error: node7: task 0: Exited with exit code 1",
            None,
            "ModuleNotFoundError: No module named 'snakemake'",
        ),
        (ENDED.format("FAILED"), NESTED, "error: it is broken", "it is broken"),
        (ENDED.format("CANCELLED"), NESTED, "x: 3/9, 1 ms", "cancelled"),
        ("", None, "bash: line 1: /my: No such file or directory", "bash: line 1: /my: No such file or directory"),
        ("", None, "results/x: 3/9, 1.0 ms each, 0.1 minutes left", "it died without writing down why (killed?)"),
        ("", None, None, "it died before it wrote anything"),
    ],
)
def test_the_cause_is_found(tmp_path: Path, message: str, slurm: str | None, own: str | None, words: str) -> None:
    paths = {}
    for name, text in (("17.log", slurm), ("train.log", own)):
        paths[name] = str(tmp_path / name)
        if text is not None:
            Path(paths[name]).write_text(text)
    cause = jobs.find(message, paths["train.log"], paths["17.log"] if message.startswith("SLURM-job") else "")
    assert words in cause.message
    assert "\n" not in cause.message


def test_what_was_asked_for_is_said_and_what_an_earlier_try_wrote_is_no_cause(tmp_path: Path) -> None:
    cause = jobs.find(REFUSED, "", "")
    assert cause.message.endswith("(asked for: partition nope, minutes 240, MB 4000)")
    assert cause.deterministic
    assert not jobs.find(
        REFUSED.replace("invalid partition specified: nope", "Socket timed out").replace(
            "Invalid partition name specified", "Socket timed out on send/recv operation"
        ),
        "",
        "",
    ).deterministic
    own, slurm = tmp_path / "train.log", tmp_path / "17.log"
    own.write_text("error: of an earlier try")
    slurm.write_text("bash: python: command not found")
    began = time.time() + 60
    assert jobs.find(ENDED.format("FAILED"), str(own), str(slurm), began).message == "bash: python: command not found"


def test_a_listener_writes_the_cause_down_and_sums_up_what_failed_in_the_end(tiny, monkeypatch) -> None:
    logger = logging.Logger("of a workflow")
    listener = jobs.Listener(logger)
    logger.addHandler(listener)
    monkeypatch.setenv(failures.RUN, "run")

    numbers: dict[str, int] = {}

    def error(path: str, rule: str, message: str, **facts) -> None:
        step = "train" if rule == "fleet" else rule
        number = numbers.setdefault(path, len(numbers))
        output, log = facts.get("output", f"{path}/metrics.json"), f"logs/{path}/{step}.log"
        extra = {"event": "job_error", "jobid": number, "rule_name": rule, "rule_msg": message, "output": [output]}
        logger.error("Error", extra=extra | {"log": [log, *facts.get("slurm", [])]})

    error(CELL, "evaluate", REFUSED)
    found = failures.read(Path(CELL))
    assert (found.step, found.deterministic, found.run) == ("evaluate", True, "run")
    assert found.message.startswith("Slurm refused the job")
    error(OTHER, "evaluate", ENDED.format("TIMEOUT"), slurm=[f"{tiny}/logs/slurm/18.log"])
    assert failures.read(Path(OTHER)).log == "logs/slurm/18.log"
    (first, second) = listener.summary()
    assert first.startswith(f"failed: evaluate {CELL}: Slurm refused the job: invalid partition")
    assert second == f"failed: evaluate {OTHER}: killed: its time was up (log: logs/slurm/18.log)"
    logger.info("Finished", extra={"event": "job_finished", "job_id": numbers[OTHER]})  # its next try went well
    assert listener.summary() == [first]
    failures.write(Path(CELL), "evaluate", "what the step says itself", slurm_job="19")
    error(CELL, "evaluate", ENDED.format("FAILED"), slurm=["logs/slurm/19.log"])
    assert "what the step says itself" in listener.summary()[0]
    error("", "fetch", "", output="results/.fetched/0123/mnist")
    assert listener.summary()[1].startswith("failed: fetch mnist: ")
    failures.write_stop({Path(CELL): None}, "SIGTERM")
    error(CELL, "train", "")
    assert listener.summary()[0].startswith(f"stopped: train {CELL}: stopped by SIGTERM")
    cell = Cell.from_path(CELL)
    state = states.of_cells([cell])[cell]
    assert (state.name, state.note) == ("missing", "stopped by SIGTERM; the same command goes on")
    failures.write_stop({Path(CELL): None}, "SIGTERM", restarted=True)  # the same command would begin anew
    assert failures.read(Path(CELL)).message == "stopped by SIGTERM; sintro train without --restart goes on"


def test_a_fleets_failure_is_that_of_its_unfinished_cells(tiny, write_study, monkeypatch) -> None:
    write_study("tiny", TINY + "fleet: 2\n")
    from sintro.cells import fleets, studies

    ((name, members),) = fleets.of_study(studies.load("tiny")).items()
    Path(CELL).mkdir(parents=True)
    handed_over = {"status": "diverged", "digest": studies.settings(Cell.from_path(CELL)).digest}
    (Path(CELL) / "provenance.fleet.json").write_text(json.dumps(handed_over))
    listener = jobs.Listener(logging.Logger("of a workflow"))
    extra = {"event": "job_error", "jobid": 1, "rule_name": "fleet", "rule_msg": ENDED.format("OUT_OF_MEMORY")}
    record = logging.makeLogRecord(extra | {"output": [f"results/tiny/.fleets/{name}.done"], "log": ["x", "17.log"]})
    listener.emit(record)
    assert len(members) == 2
    assert failures.read(Path(CELL)) is None
    assert failures.read(Path(OTHER)).message.startswith("killed: it needed more memory")


# --- paths


@pytest.mark.parametrize(
    ("interpreter", "folder", "word"),
    [
        ("/home/me/my project/.venv/bin/python", "/home/me/my project", "unquoted"),
        ("/home/me/$x/bin/python", "/home/me", "unquoted"),
        ("/opt/python", "/home/me/it's", "cannot start in"),
        ("/opt/python", "/home/me/$HOME", "cannot start in"),
        ("/opt/python", "/home/me/my project", ""),
        ("/opt/python", "/home/me/sintro-1.0_x", ""),
    ],
)
def test_paths_from_which_no_slurm_job_starts_are_known(
    interpreter: str, folder: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda command: f"/usr/bin/{command}")
    said = places.why_no_slurm_job_starts(interpreter, folder)
    assert word in said
    assert bool(said) == bool(word)


def test_without_slurm_no_slurm_job_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert places.why_no_slurm_job_starts("/opt/python", "/home/me").startswith("there is no command sbatch here")


def test_titles_that_the_terminal_cannot_show_are_no_error(tiny, write_study) -> None:
    write_study("tiny", TINY.replace("Tiny", "KL \u2265 0, \u00fcber \u03b3"))
    folder = Path(CELL)
    folder.mkdir(parents=True)
    failures.write(folder, "train", "\u03b3 is not finite")
    narrow = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    verbs = (["studies"], ["status", "tiny"], ["show", CELL], ["plan", "tiny"], ["report", "tiny"], ["cells", "tiny"])
    script = f"from sintro.__main__ import main\nfor verb in {verbs!r}:\n    code = main(verb)\n    print('CODE', code)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=os.environ | narrow, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode("ascii").count("CODE 0") == len(verbs), done.stdout.decode()
    assert json.loads((folder / failures.NAME).read_text())["message"].endswith("is not finite")


def test_what_runs_make_is_ignored_by_git_as_a_link_too(repository: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text((repository / ".gitignore").read_text())
    (tmp_path / "sub").mkdir()
    names = ("results", "reports", "data", "logs", ".snakemake")
    for name in names:
        (tmp_path / name).symlink_to("/elsewhere")
        (tmp_path / "sub" / name).write_text("")  # one of the sources may be called so
    command = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1::2]
    assert sorted(listed) == sorted(
        [".gitignore", *(f"sub/{n}" for n in (".snakemake", "data", "logs", "reports", "results"))]
    )
