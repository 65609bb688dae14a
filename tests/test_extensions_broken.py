"""Extensions that fail while they are used: one line with file and line, exit code 2, and no other cell is harmed."""

import json
from pathlib import Path

import pytest
from test_extensions import DENSITY, IMAGES, extend
from test_extensions_models import TOYS

from sintro import SintroError
from sintro.__main__ import main
from sintro.cells import components, fleets, studies
from sintro.cells.cell import Cell

STUDY = """
title: Components of our own
comparable: false
seeds: [0, 1]
overrides: {iterations: 12, warmup: 1/2, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}
%s
cells:
"""
RINGS = "  - {datasets: [rings], objectives: [vae], priors: [normal]}\n"
BARS = "results/own/bars/vae/normal/none/seed0"
STRIPES = "results/own/stripes/vae/normal/none/seed0"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the study `own` with these blocks, below a block of the suite's own components."""
    monkeypatch.chdir(tmp_path)

    def write(*blocks: str, more: str = "") -> None:
        path = tmp_path / "workflow" / "studies" / "own.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUDY % more + RINGS + "".join(f"  - {block}\n" for block in blocks))

    return write


def forget() -> None:
    components.registry._registries.clear()
    studies._load.cache_clear()


def failing(text: str, method: str, when: str = "") -> tuple[str, int]:
    """The text of an extension in which a method raises, and the line at which it does."""
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if f"def {method}(" in line)
    lines.insert(place + 1, f"        {when}raise KeyError('by hand')")
    return "\n".join(lines), place + 2


@pytest.mark.parametrize(
    ("name", "text", "method", "verb"),
    [
        ("bars", DENSITY, "sample", "train"),
        ("bars", DENSITY, "locate", "train"),
        ("bars", DENSITY, "locate", "evaluate"),
        ("stripes", IMAGES, "read", "train"),
    ],
)
def test_an_error_inside_a_method_is_one_line(write, tmp_path, capsys, name, text, method, verb) -> None:
    write(f"{{datasets: [{name}], objectives: [vae], priors: [normal]}}")
    cell = {"bars": BARS, "stripes": STRIPES}[name]
    broken, line = failing(text, method, "if len(points) > 50: " if verb == "evaluate" else "")
    extend(tmp_path, name, broken)
    if verb == "evaluate":
        assert main(["train", cell, "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main([verb, cell, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert f"error: extensions/{name}.py:{line}: KeyError: 'by hand'" in error
    assert "Traceback" not in error
    failure = json.loads(Path(cell, "failure.json").read_text())
    assert (failure["exit_code"], failure["step"]) == (2, verb)
    if verb == "evaluate":
        assert main(["report", "own"]) == 0
        assert f"warning: no floor for bars: extensions/bars.py:{line}" in capsys.readouterr().err
    assert main(["status", "own"]) == 0
    assert main(["train", "results/own/rings/vae/normal/none/seed0", "--device", "cpu"]) == 0


def test_an_extension_that_was_edited_since_the_training_is_not_evaluated_with(write, tmp_path, capsys) -> None:
    write("{datasets: [bars], objectives: [vae], priors: [normal]}")
    extend(tmp_path, "bars", DENSITY)
    assert main(["train", BARS, "--device", "cpu"]) == 0
    extend(tmp_path, "bars", DENSITY + "# edited\n")
    forget()
    capsys.readouterr()
    assert main(["evaluate", BARS, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert f"error: {BARS} was trained with another content of extensions/bars.py; restore that, or train" in error
    assert not Path(BARS, "metrics.json").exists()
    extend(tmp_path, "bars", DENSITY)
    forget()
    assert main(["evaluate", BARS, "--device", "cpu"]) == 0


WRONG = {
    "no hyper-parameter": ('{"beta_kl": 0.4}', '{"beta_kk": 1}', "rows: 'beta_kk' is no hyper-parameter"),
    "a wrong value": ('{"beta_kl": 0.4}', '{"beta_kl": -1}', "rows: beta_kl: input should be greater than 0"),
    "a wrong moment": ('{"beta_kl": 0.4}', '{"adam_beta1": 1}', "rows: adam_beta1: input should be less than 1"),
    "a wrong schedule": ('{"beta_kl": 0.4}', '{"length": "long"}', "its rows make no valid settings: "),
}


@pytest.mark.parametrize("fleet", ["", "fleet: 2", "fleet: auto"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_harms_the_cells_that_name_it_alone(write, tmp_path, capsys, case, fleet) -> None:
    old, new, said = WRONG[case]
    write("{datasets: [bars], objectives: [soft-introvae], priors: [normal]}", more=fleet)
    extend(tmp_path, "bars", DENSITY.replace(old, new))
    study = studies.load("own")
    assert len(study.cells()) == 4
    found = fleets.of_study(study)
    assert [cell.dataset for cells in found.values() for cell in cells] == (["rings"] * 2 if fleet else [])
    for verb in ("status", "plan", "cells", "report"):
        assert main([verb, "own"]) == 0
    capsys.readouterr()
    assert main(["train", BARS.replace("vae", "soft-introvae", 1)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert said in error[0]
    assert "extensions/bars.py" in error[0]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("3", "rows is 3; legal is a tuple of Row"),
        ('(Row("vae", {}, ""),)', "objectives as VAE or SOFT"),
        ('(Row(SOFT, 5, ""),)', "legal is Row"),
    ],
)
def test_rows_that_are_none_break_their_file(tmp_path, monkeypatch, rows, said) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "bars", DENSITY.replace('(Row(SOFT, {"beta_kl": 0.4}, "by hand"),)', rows))
    (error,) = components.broken().values()
    assert "extensions/bars.py:5: dataset 'bars': rows" in error
    assert said in error


LEGAL = {
    "half_width = 3.0": ("half_width = '3'", "dataset 'bars': half_width is '3'; legal is a number above 0"),
    "labels, part = 2": ("labels, part = 0", "dataset 'bars': labels is 0; legal is a whole number above 0"),
    '"Two bars"': ("7", "dataset 'bars': title is 7; legal is a text"),
    "(1, 8, 8)": ("(1, 8)", "dataset 'stripes': event is (1, 8); legal is (channels, height, width)"),
    "128, 2\n": ("128, 'two'\n", "dataset 'stripes': classes is 'two'; legal is a whole number above 0"),
}


@pytest.mark.parametrize("old", LEGAL)
def test_an_attribute_that_is_not_legal_breaks_its_file(tmp_path, monkeypatch, old) -> None:
    new, said = LEGAL[old]
    monkeypatch.chdir(tmp_path)
    name, text = ("bars", DENSITY) if old in DENSITY else ("stripes", IMAGES)
    extend(tmp_path, name, text.replace(old, new))
    assert [said in error for error in components.broken().values()] == [True]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "-1).to(device), labels",
            "-1).to(device).double(), labels",
            "points: expected torch.float32 (8, 2), not torch.float64",
        ),
        ("(first, second), -1)", "(first, second, first), -1)", "(8, 2), not torch.float32 (8, 3)"),
        (", labels.to(device)", "", "labels: expected torch.int64 (8,), not NoneType"),
        ("return (first > 0).long().where(on, -1)", "return None", "locate of 8 points of dataset 'bars': expected"),
    ],
)
def test_what_a_density_gives_is_tried_before_it_is_trained_on(write, tmp_path, capsys, old, new, said) -> None:
    write("{datasets: [bars], objectives: [vae], priors: [normal]}")
    assert old in DENSITY
    extend(tmp_path, "bars", DENSITY.replace(old, new))
    assert main(["train", BARS, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "extensions/bars.py: " in error
    assert said in error
    assert not Path(BARS, "model.pt").exists()


@pytest.mark.parametrize("fleet", ["", "fleet: 2"])
def test_a_broken_objective_in_a_grid_of_betas_harms_its_own_cells_alone(write, tmp_path, capsys, fleet) -> None:
    write(
        "{datasets: [rings], objectives: [annealed-vae, vae], priors: [normal], betas: {rec: [1], kl: [0.5, 1]}}",
        more=fleet,
    )
    extend(tmp_path, "annealed", (TOYS / "annealed.py").read_text() + "\nraise ValueError('by hand')\n")
    study = studies.load("own")
    assert sorted({cell.objective for cell in study.cells()}) == ["vae", "vae-rec1-kl0.5", "vae-rec1-kl1"]
    assert "results/own/rings/annealed-vae-rec1-kl0.5/normal/none/seed0" in study.left_out
    assert "warning: 4 cells of study own are left out" in capsys.readouterr().err
    assert fleets.of_study(study) or not fleet
    (tmp_path / "extensions" / "annealed.py").unlink()
    forget()
    assert main(["cells", "own"]) == 2  # nothing knows the name any more
    assert "objective 'annealed-vae' is not one of" in capsys.readouterr().err


def test_an_objective_named_after_one_of_ours(write, tmp_path, capsys) -> None:
    """`vae-annealed` begins as a `vae` with betas does, and is none."""
    write("{datasets: [rings], objectives: [vae-annealed], priors: [normal]}")
    text = (TOYS / "annealed.py").read_text().replace("annealed-vae", "vae-annealed")
    extend(tmp_path, "annealed", text + "raise ValueError('by hand')\n")
    assert len(studies.load("own").cells()) == 2
    assert "ValueError: by hand" in capsys.readouterr().err
    with pytest.raises(SintroError, match="objective 'vae-annealde' is not one of vae"):
        Cell.from_path("results/own/rings/vae-annealde/normal/none/seed0")


def test_a_broken_extension_is_said_once_by_the_verbs_that_read_a_study(write, tmp_path, capsys) -> None:
    write()
    extend(tmp_path, "bad", "import nothing_of_this_name\n")
    for verb in ("status", "report", "plan", "cells"):
        forget()  # as a process of its own
        assert main([verb, "own"]) == 0
        error = capsys.readouterr().err.splitlines()
        assert error == ["warning: extensions/bad.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'"], (
            verb
        )


def test_what_a_study_leaves_out_for_it_says_it_once(write, tmp_path, capsys) -> None:
    write("{datasets: [bars], objectives: [vae], priors: [normal]}")
    extend(tmp_path, "bars", "import nothing_of_this_name\n" + DENSITY)
    assert main(["cells", "own"]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: 2 cells of study own are left out")
    assert "extensions/bars.py:1: ModuleNotFoundError" in said
