"""The command line: what each verb prints and returns; errors are one line and exit code 2, without a traceback."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sintro.__main__ import main
from sintro.basics import memory
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import VERSIONS, versions
from sintro.runs import doctor
from sintro.theory import experiment

CELL = "results/quick/rings/soft-introvae/mog64-learned/clip/seed0"
WHOLE = "title: Whole\nseeds: [0]\ncells:\n  - {datasets: [rings], objectives: [vae], priors: [normal]}\n"
VAST = "9" * 400  # larger than every float, and than every integer of a machine
VERBS = (
    "studies",
    "cells",
    "show",
    "train",
    "evaluate",
    "status",
    "plan",
    "clean",
    "doctor",
    "report",
    "archive",
    "choose",
    "compare",
    "theory",
)


def test_studies_lists_every_study_with_its_number_of_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    printed = capsys.readouterr().out
    for name in studies.names():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert f" {len(studies.load(name).cells())} " in line


@pytest.mark.parametrize(("verb", "code", "word"), [("studies", 2, "error"), ("report", 0, "warning")])
def test_a_broken_study_file_costs_the_other_studies_nothing(tmp_path, monkeypatch, capsys, verb, code, word):
    monkeypatch.chdir(tmp_path)
    Path("workflow", "studies").mkdir(parents=True)
    for name, text in (("broken", "title: ["), ("whole", WHOLE)):
        Path("workflow", "studies", f"{name}.yaml").write_text(text)
    Path("results", "whole").mkdir(parents=True)
    assert main([verb]) == code
    said = capsys.readouterr()
    assert said.err.startswith(f"{word}: workflow/studies/broken.yaml: not readable as YAML")
    assert "whole" in said.out
    assert main(["report", "broken"]) == 2


def test_a_study_file_that_cannot_be_read_costs_the_others_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("workflow", "studies", "folder.yaml").mkdir(parents=True)
    Path("workflow", "studies", "link.yaml").symlink_to("nowhere")
    Path("workflow", "studies", "whole.yaml").write_text(WHOLE)
    assert main(["studies"]) == 2
    said = capsys.readouterr()
    assert "whole" in said.out
    assert "error: workflow/studies/folder.yaml cannot be read: Is a directory" in said.err
    assert "error: workflow/studies/link.yaml is a link that leads nowhere" in said.err


def test_a_folder_of_studies_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setenv("SINTRO_STUDIES", "/nowhere")
    assert main(["studies"]) == 2
    assert "SINTRO_STUDIES names /nowhere, which is no folder" in capsys.readouterr().err


def test_ctrl_c_is_told_in_a_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "check", interrupted)
    assert main(["theory"]) == 130
    assert capsys.readouterr().err == "error: stopped by Ctrl-C\n"


def test_a_study_without_fleets_says_so(capsys):
    assert main(["fleet", "quick"]) == 0
    assert "study quick has no fleets" in capsys.readouterr().err


def test_results_that_lead_nowhere_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to("/nowhere/disk")
    assert main(["train", "results/quick/rings/vae/normal/none/seed0", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "error: results leads to /nowhere/disk by a link, where nothing is\n"
    assert main(["status", "quick"]) == 0
    assert f"{len(studies.load('quick').cells())} unreadable" in capsys.readouterr().out


def test_cells_prints_one_path_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "table1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Cell.from_path(line) for line in lines] == list(studies.load("table1").cells())


def test_show_prints_every_setting_with_its_value_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", CELL]) == 0
    printed = capsys.readouterr().out
    assert CELL in printed
    cell = Cell.from_path(CELL)
    assert studies.settings(cell).digest in printed
    for name, source in studies.sources(cell).items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert source in line


def test_show_json_is_what_cell_json_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", CELL + "/", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    cell = Cell.from_path(CELL)
    assert shown["cell"] == cell.model_dump() | {"path": CELL}
    assert shown["settings"] == studies.settings(cell).model_dump(mode="json")
    assert shown["digest"] == studies.settings(cell).digest
    assert shown["sources"] == studies.sources(cell)


def test_an_image_cell_says_before_training_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINTRO_STUDIES", str(Path(__file__).parents[1] / "workflow" / "studies"))
    monkeypatch.setenv("SINTRO_DATA", "elsewhere")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("SINTRO_INCEPTION", raising=False)
    cell = "results/table2/mnist/soft-introvae/normal/none/seed0"
    assert main(["train", cell, "--data", str(tmp_path / "data")]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: no Inception weights: mnist cells are measured")
    assert f"looked for in {tmp_path / 'data'}" in error
    assert not (tmp_path / cell / "provenance.json").exists()
    assert main(["train", CELL, "--precision", "bfloat16"]) == 2
    assert "for image cells only" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Example: sintro {verb}" in " ".join(capsys.readouterr().out.split())


def test_without_a_verb_the_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f" {verb} " in printed for verb in VERBS)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command line gets."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", CELL], ["trian", "train"]),
        (["train"], ["CELL", "sintro train --help"]),
        (["train", CELL, "--sped", "3"], ["--sped", "sintro train --help"]),
        (["train", CELL, "--threads", "0"], ["--threads"]),
        (["train", CELL, "--threads", "two"], ["--threads"]),
        (["train", CELL, "--iterations", "0"], ["--iterations"]),
        (["train", CELL, "--iterations", "2"], ["iterations 2", "at least 3"]),
        (["train", CELL, "--checkpoint-every", "-1"], ["--checkpoint-every"]),
        (["train", CELL, "--checkpoint-every", "nan"], ["--checkpoint-every"]),
        (["train", CELL, "--checkpoint-every", "inf"], ["--checkpoint-every inf", "0 and more"]),
        (["train", CELL, "--iterations", "nan"], ["--iterations"]),
        (["train", CELL, "--iterations", VAST], ["its phases need at least 3", "1,000,000,000 are the most"]),
        (["train", CELL, "--threads", VAST], ["--threads 99999999", "legal are 1 to 1024"]),
        (["train", CELL, "--threads", "2147483647"], ["--threads 2147483647", "legal are 1 to 1024"]),
        (["train", CELL, "--fleet", "0"], ["--fleet"]),
        (["train", CELL, "--wait", VAST], ["--wait"]),
        (["train", CELL, "--data", ""], ["--data '' is not a folder"]),
        (["train", CELL, "--data", __file__], ["is not a folder"]),
        (["train", CELL, "--data", "a\0b"], ["null byte"]),
        (["evaluate", CELL, "--threads", VAST], ["--threads 99999999", "legal are 1 to 1024"]),
        (["evaluate", CELL, "--data", __file__], ["is not a folder"]),
        (["fetch", "digits", "--data", __file__], ["is not a folder"]),
        (["doctor", "--no-job", "--data", __file__], ["is not a folder"]),
        (["fleet", "search2d", "nope"], ["has no fleet 'nope'"]),
        (["status", "quick", "--watch", "--while", "0"], ["--while 0", "1 to 2147483647"]),
        (["status", "quick", "--watch", "--while", "-1"], ["--while -1", "1 to 2147483647"]),
        (["status", "quick", "--watch", "--while", VAST], ["--while 99999999", "1 to 2147483647"]),
        (["status", "quick", "--while", "1"], ["--while 1", "it needs --watch"]),
        (["plan", "quick", "--jobs", "0"], ["--jobs"]),
        (["plan", "quick", "--jobs", VAST], ["--jobs"]),
        (["theory", "--points", VAST], ["points 99999999", "2 to 50"]),
        (["theory", "--seed", VAST], ["seed 99999999", "0 to 4294967295"]),
        (["theory", "--seed", "-1"], ["seed -1", "0 to 4294967295"]),
        (["theory", "--gamma", "nan"], ["gamma nan", "0.001 to 10"]),
        (["theory", "--alpha", "inf"], ["alpha inf", "0.1 to 100"]),
        (["show", "results/quick/rings/vae/normal/none/seed" + VAST], ["is not a whole number"]),
        (["show", "results/quick/rings/vae/vamp" + VAST + "/none/seed0"], ["is not a whole number"]),
        (["show", CELL + "\n"], ["is not a whole number"]),
        (["show", ""], ["is not a cell's path"]),
        (["cells", ""], ["study ''"]),
        (["cells", "../quick"], ["study '../quick'"]),
        (["cells", "x" * 5000], ["xxx... (", " characters)"]),
        ([""], ["''"]),
        (["train", CELL, "extra"], ["extra"]),
        (["train", CELL, "--device", "gpu"], ["device 'gpu'", "cpu", "cuda"]),
        (["evaluate", CELL, "--device", "gpu"], ["device 'gpu'", "cpu", "cuda"]),
        (["cells", "quik"], ["study 'quik'", "did you mean 'quick'?"]),
        (["report", "quik"], ["study 'quik'", "did you mean 'quick'?"]),
        (["choose", "quik"], ["study 'quik'", "did you mean 'quick'?"]),
        (["choose", "table1"], ["study table1: nothing to choose from"]),
        (["show", "results/nope/rings/vae/normal/none/seed0"], ["study 'nope'", "quick"]),
        (["show", "results/quick/ringz/vae/normal/none/seed0"], ["dataset 'ringz'", "did you mean 'rings'?"]),
        (["show", "results/quick/rings/vae/norml/none/seed0"], ["prior 'norml'", "did you mean 'normal'?"]),
        (["show", "results/quick/digits/vae/vamp9999/none/seed0"], ["9999 components", "digits has only"]),
        (["show", "results/quick/rings/vae/normal/clipp/seed0"], ["regularizers 'clipp'", "did you mean 'clip'?"]),
        (["show", "results/quick/rings/vae-rec-1-kl1/normal/none/seed0"], ["beta_rec -1 is not positive"]),
        (["show", "results/quick/rings/vae/normal/none"], ["<seed> missing", "results/<study>/"]),
        (["show", "/nowhere/" + CELL], ["/nowhere/results", "cd /nowhere"]),
        (["show", "../" + CELL], ["cells are read and written in ./results"]),
    ],
)
def test_a_wrong_command_line_gets_one_line(
    arguments: list[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(arguments, capsys)
    for words in said:
        assert words in line
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


@pytest.mark.parametrize(
    "device",
    ["cpu:", "cpu:0", "cuda:", "cuda:-1", "cuda:01", "cuda:²", "cuda:" + "9" * 20, "CPU", "cpu ", "auto:0", "mps", ""],
)
@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_device_has_one_spelling(
    verb: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"unknown device {device!r}; use auto, cpu, cuda or cuda:N" in refused(
        [verb, CELL, "--device", device], capsys
    )


TINY = """
title: tiny
comparable: false
seeds: [0]
overrides: {iterations: 6, batch_size: 32, samples: 2, evaluation_points: 50, evaluation_grid: 16}
cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]
"""
TINY_CELL = "results/tiny/rings/vae/normal/none/seed0"


@pytest.mark.parametrize("options", [[], ["--fleet", "2"], ["--fleet", "1" + "0" * 12]])
def test_a_cell_in_several_spellings_is_trained_and_evaluated_once(
    options: list[str], write_study: Callable[[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("tiny", TINY)
    name = Path.cwd().name
    spellings = [TINY_CELL, TINY_CELL + "/", "./" + TINY_CELL, str(tmp_path / TINY_CELL), f"../{name}/{TINY_CELL}"]
    assert main(["train", *spellings, *options, "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count(f"{TINY_CELL}: 6/6") == 1
    assert main(["evaluate", *spellings, "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{TINY_CELL}: done\n"


def test_a_trial_takes_no_finished_runs_place(
    write_study: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("tiny", TINY)
    train = ["train", TINY_CELL, "--device", "cpu"]
    assert main([*train, "--iterations", "3"]) == 0
    assert main([*train, "--iterations", "4"]) == 0, "a trial's result is no obstacle"
    assert main(train) == 0
    before = {path.name: path.read_bytes() for path in Path(TINY_CELL).iterdir()}
    capsys.readouterr()
    assert "has a finished run with the settings of its study" in refused([*train, "--iterations", "3"], capsys)
    assert {path.name: path.read_bytes() for path in Path(TINY_CELL).iterdir()} == before
    assert main([*train, "--iterations", "6"]) == 0, "that is the study's own length"
    assert main([*train, "--iterations", "3", "--restart"]) == 0


def test_the_recorded_command_does_the_same_when_a_shell_reads_it(
    write_study: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write_study("tiny", TINY)
    folder = tmp_path / "my data; $HOME `'\" 💥"
    folder.mkdir()
    given = ["train", TINY_CELL, "--device", "cpu", "--threads", "1", "--iterations", "9", "--data", str(folder)]
    assert main(given) == 0
    command = json.loads(Path(TINY_CELL, "cell.json").read_text())["command"]
    assert shlex.split(command) == ["sintro", *given]
    words = subprocess.run(
        ["sh", "-c", f'sintro() {{ for word in "$@"; do printf \'%s\\n\' "$word"; done; }}; {command}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert words.stdout.splitlines() == given


def test_a_study_with_an_unknown_key_gets_one_line(
    write_study: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("mine", "title: Mine\nseedz: [0]\ncells: []\n")
    assert "workflow/studies/mine.yaml: seedz: unknown key" in refused(["cells", "mine"], capsys)
    assert main(["studies"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: workflow/studies/mine.yaml: seedz: unknown key")


def test_choose_prints_the_file_it_wrote(
    write_study: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    block = "{datasets: [rings], objectives: [vae], priors: [normal], betas: {rec: [1, 2], kl: [1]}}"
    write_study("search", f"title: S\nseeds: [0]\ncells:\n  - {block}\n")
    folder = Path("results/search/rings/vae-rec2-kl1/normal/none/seed0")
    folder.mkdir(parents=True)
    outcome = {"status": "done", "digest": studies.settings(Cell.from_path(folder)).digest}
    (folder / "provenance.json").write_text(json.dumps(outcome))
    (folder / "metrics.json").write_text(
        json.dumps(outcome | {"kl_published": 1.5, VERSIONS: versions(["kl_published"])})
    )
    assert main(["choose", "search"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert json.loads(path.read_text())["choices"]["rings/vae/normal/none"]["betas"]["rec"] == 2


def test_the_cell_of_an_absolute_path_is_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", str(tmp_path / CELL), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cell"]["path"] == CELL


def test_the_process_itself_ends_with_code_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sintro", "cells", "quik"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: study 'quik'")
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error_worth_a_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sintro", "cells", "search2d"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full here")
def test_a_full_disk_under_the_output_gets_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sintro", "cells", "quick"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*No space left on device\n", done.stderr)


# --- doctor


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nexec sleep 60\n", "timed out after 0.2 seconds"),
        ("no program", "Exec format error"),
        ("#!/bin/sh\necho no devices were found >&2\nexit 6\n", "no devices were found"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_row_of_the_doctors_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "SECONDS_FOR_DRIVER", 0.2)
    (row,) = (check for check in doctor.here(data=False) if check.what == "GPU driver")
    assert row.state == "bad"
    assert said in row.found


# --- the memory of a process that trains

BLOCKS = """
import resource

import numpy as np


def fill(times):
    for _ in range(times):
        blocks = [np.ones(1 << 20) for _ in range(8)]
        del blocks


fill(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not memory.has_glibc(), reason="needs the GNU C library")
def test_memory_that_comes_and_goes_stays_with_the_process() -> None:
    """Twenty times 64 MiB: 4 KiB at a time without the settings, once with them."""
    faults = {}
    for kept in (False, True):
        script = f"from sintro.basics.memory import keep_memory\nkeep_memory()\n{BLOCKS}" if kept else BLOCKS
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        faults[kept] = int(done.stdout)
    assert faults[True] < faults[False] / 10


@pytest.mark.skipif(not memory.has_glibc(), reason="needs the GNU C library")
@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [
        (["train", CELL, "--batch"], None, "glibc.malloc.hugetlb=1:"),
        (["evaluate", CELL, "--images"], None, "glibc.malloc.hugetlb=1:"),
        (["train", CELL, "--batch"], "glibc.malloc.check=0", "glibc.malloc.check=0"),
        (["show", CELL], None, "unset"),
    ],
)
def test_trainings_and_evaluations_keep_their_memory_unless_the_user_has_settings(
    tmp_path: Path, words: list[str], given: str | None, expected: str
) -> None:
    """The word that is wrong ends the process after it has started; a hook of Python tells its settings then."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os\natexit.register(lambda: print('settings', os.environ.get('GLIBC_TUNABLES', 'unset')))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment |= {"GLIBC_TUNABLES": given} if given else {}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    command = [sys.executable, "-m", "sintro", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.count("settings") == 1
    assert f"settings {expected}" in done.stdout
