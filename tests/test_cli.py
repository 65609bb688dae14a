"""The command line: what each verb prints and returns; errors are one line and exit code 2, without a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sintro import studies
from sintro.__main__ import main
from sintro.cells import Cell

CELL = "results/quick/rings/soft-introvae/mog64-learned/clip/seed0"
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
    "choose",
    "theory",
)


def test_studies_lists_every_study_with_its_number_of_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    printed = capsys.readouterr().out
    for name in studies.names():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert f" {len(studies.load(name).cells())} " in line


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
        (["show", "results/quick/rings/vae/vamp513/none/seed0"], ["513 components", "only 512"]),
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


def test_a_study_with_an_unknown_key_gets_one_line(
    write_study: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_study("mine", "title: Mine\nseedz: [0]\ncells: []\n")
    assert "workflow/studies/mine.yaml: seedz: unknown key" in refused(["cells", "mine"], capsys)
    assert "workflow/studies/mine.yaml: seedz: unknown key" in refused(["studies"], capsys)


def test_choose_prints_the_file_it_wrote(
    write_study: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    block = "{datasets: [rings], objectives: [vae], priors: [normal], betas: {rec: [1, 2], kl: [1]}}"
    write_study("search", f"title: S\nseeds: [0]\ncells:\n  - {block}\n")
    folder = Path("results/search/rings/vae-rec2-kl1/normal/none/seed0")
    folder.mkdir(parents=True)
    outcome = {"status": "done", "digest": studies.settings(Cell.from_path(folder)).digest}
    (folder / "provenance.json").write_text(json.dumps(outcome))
    (folder / "metrics.json").write_text(json.dumps(outcome | {"kl_published": 1.5}))
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
    assert b"Traceback" not in done.stderr
