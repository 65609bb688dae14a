"""`sintro plan`, `sintro clean` and `sintro doctor`."""

import os
import sys
from pathlib import Path

import pytest

from sintro.__main__ import main
from sintro.basics.files import read_json, write_atomic, write_json
from sintro.cells import studies
from sintro.runs import doctor, lock, pace, plan, processes

STUDY = """
title: tiny
comparable: false
seeds: [0, 1, 2, 3]
overrides: {iterations: 1000, batch_size: 32, samples: 2, evaluation_grid: 16}
cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]
"""


@pytest.fixture
def cells(write_study):
    write_study("tiny", STUDY)
    return studies.load("tiny").cells()


def finish(cell, seconds=100.0, size=0):
    outcome = {"status": "done", "digest": studies.settings(cell).digest}
    for name in ("model.pt", "cell.json", "history.csv", "arrays.npz"):
        write_atomic(Path(cell.path, name), b"0" * size)
    write_json(Path(cell.path, "metrics.json"), outcome)
    write_json(Path(cell.path, "provenance.json"), outcome | {"wall_seconds": seconds, "iterations": 1000})


def said(capsys, *arguments):
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_a_plan_counts_cells_hours_and_disk(cells, capsys):
    printed = said(capsys, "plan", "tiny")
    assert "4 cells, 0 finished, 4 left" in printed
    assert "by shipped measurements" in printed
    assert "by shipped sizes" in printed
    finish(cells[0], seconds=3600.0, size=1_000_000)
    need = plan.needs(plan.of_cells(cells), jobs=2)
    assert need.measured
    assert need.core_hours == pytest.approx(3, rel=0.05)  # three cells of an hour each are left
    assert need.gpu_hours == 0
    assert need.wall_seconds == pytest.approx(1.5 * 3600, rel=0.05)
    assert need.bytes_at_the_end == pytest.approx(3 * 4e6, rel=0.01)
    assert need.bytes_at_most > need.bytes_at_the_end
    assert "learnt from this study's cells" in said(capsys, "plan", "tiny", "--jobs", "2")
    for cell in cells:
        finish(cell)
    assert said(capsys, "plan", "tiny") == "study tiny: 4 cells, 4 finished, 0 left\n"


def test_a_plan_says_what_cannot_run_yet(write_study, capsys):
    grid = "cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]"
    write_study("searched", STUDY.replace("cells:", "search: true\ncells:"))
    write_study("waits", f"title: Waits\ncomparable: false\nseeds: [0]\nhyperparameters: searched\n{grid}\n")
    printed = said(capsys, "plan", "waits")
    assert "cells that cannot run yet, and are not counted below: 1, since " in printed
    assert "results/searched/chosen.json" in printed
    assert "work left" not in printed
    assert "time with" not in printed


def test_a_plan_learns_what_evaluations_take(cells):
    finish(cells[0], seconds=1.0)
    metrics = read_json(Path(cells[0].path, "metrics.json"))
    write_json(Path(cells[0].path, "metrics.json"), metrics | {"evaluation_seconds": 7200.0})
    need = plan.needs(plan.of_cells(cells), jobs=1)
    assert need.core_hours == pytest.approx(3 * 2, rel=0.01)


IMAGES = """
title: tiny
comparable: false
seeds: [0, 1, 2]
image_overrides: {iterations: 100, channels: [4, 8]}
cells: [{datasets: [digits], objectives: [vae], priors: [normal]}]
"""


def test_image_cells_count_where_they_train(write_study, capsys, monkeypatch):
    write_study("tiny", IMAGES)
    cells = studies.load("tiny").cells()
    for there, name in ((True, "GPU hours"), (False, "core hours")):
        monkeypatch.setattr(pace, "gpus_are_asked_for", lambda _, there=there: there)
        printed = said(capsys, "plan", "tiny")
        assert name in printed
        assert "a rough estimate" in printed
    finish(cells[0], seconds=3600.0)
    assert plan.needs(plan.of_cells(cells), jobs=1).gpu_hours == 0
    change = read_json(Path(cells[0].path, "provenance.json"))
    write_json(Path(cells[0].path, "provenance.json"), change | {"device": "cuda:0"})
    need = plan.needs(plan.of_cells(cells), jobs=1)  # as the one that is finished did
    assert need.core_hours == 0
    assert need.gpu_hours > 0


@pytest.mark.parametrize(
    ("cluster", "profile", "asked"),
    [
        ("echo '(null)'; echo gpu:a100:4", "config: [study=paper]", True),
        ("echo '(null)'; echo gpu:a100:4", "config: [study=paper, gpus=none]", False),
        ("echo '(null)'", "config: [study=paper]", False),
        ("exit 1", "config: [study=paper]", False),
        ("echo gpu:a100:4", "config: [", False),
    ],
)
def test_gpus_are_asked_for_where_there_are_some(tmp_path, monkeypatch, cluster, profile, asked):
    (tmp_path / "sinfo").write_text(f"#!/bin/sh\n{cluster}\n")
    (tmp_path / "sinfo").chmod(0o755)
    (tmp_path / "config.yaml").write_text(profile)
    monkeypatch.setenv("PATH", str(tmp_path))
    pace.gpus_are_asked_for.cache_clear()
    assert pace.gpus_are_asked_for(tmp_path / "config.yaml") is asked
    pace.gpus_are_asked_for.cache_clear()


def test_clean_shows_first_and_deletes_when_told(cells, capsys):
    finish(cells[0])
    checkpoints = ("checkpoint.pt", "checkpoint.other-settings.pt", "checkpoint.between.pt")
    waste = [Path(cells[0].path, name) for name in (*checkpoints, ".unfinished-model.pt.x1")]
    kept = [Path(cells[index].path, name) for index in (1, 2) for name in checkpoints]
    for path in (*waste, *kept):
        write_atomic(path, b"0" * 1500)
    me = processes.this_one() | {"done": 1, "total": 2}
    write_json(Path(cells[2].path, lock.NAME), me)  # in training: nothing of it is touched
    printed = said(capsys, "clean", "tiny")
    assert all(str(path) in printed for path in waste)
    assert not any(f" {path}\n" in printed for path in kept)
    assert all(path.exists() for path in waste)
    said(capsys, "clean", "tiny", "--yes")
    assert not any(path.exists() for path in waste)
    assert all(path.exists() for path in kept)
    assert Path(cells[0].path, "model.pt").exists()
    assert said(capsys, "clean", "tiny") == "nothing to delete\n"


def test_all_of_a_study_is_deleted_only_when_nothing_of_it_trains(cells, capsys, tmp_path):
    finish(cells[0])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    Path("results/other").symlink_to(outside)
    Path("reports").mkdir()
    Path("reports/tiny").symlink_to(outside)
    write_json(Path(cells[1].path, lock.NAME), processes.this_one() | {"done": 1, "total": 2})
    assert main(["clean", "tiny", "--everything", "--yes"]) == 2
    assert "that are being trained: 1" in capsys.readouterr().err
    Path(cells[1].path, lock.NAME).unlink()
    beside = Path("results/tiny/spirals/vae/normal/none/seed0")  # a legal cell outside the study's grid
    write_json(beside / lock.NAME, processes.this_one() | {"done": 1, "total": 2})
    assert main(["clean", "tiny", "--everything", "--yes"]) == 2
    assert f"cells of study tiny that are being trained: 1, as {beside}" in capsys.readouterr().err
    (beside / lock.NAME).unlink()
    assert "results/tiny" in said(capsys, "clean", "tiny", "--everything")
    assert Path(cells[0].path).exists()
    said(capsys, "clean", "tiny", "--everything", "--yes")
    assert os.listdir("results") == ["other"]
    assert (outside / "kept").exists()  # of a link only the link goes


def test_doctor_looks_at_this_machine_and_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {check.what: check for check in doctor.here(data=False)}
    assert found["results"].state == "ok"
    assert {check.state for check in found.values()} <= {"ok", "note", "bad"}
    assert found["python"].state == "ok"
    (tmp_path / "results").rmdir()
    (tmp_path / "results").write_text("no folder")
    found = {check.what: check for check in doctor.here(data=False)}
    assert found["results"].state == "bad"


def test_doctor_says_what_is_slower_without_numba(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {check.what: check for check in doctor.here(data=False)}["numba"].state == "ok"
    monkeypatch.setitem(sys.modules, "numba", None)
    row = {check.what: check for check in doctor.here(data=False)}["numba"]
    assert row.state == "note"
    assert "pip install 'sintro[fast]'" in row.found


def fake_srun(folder, script):
    program = folder / "bin" / "srun"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program.parent)


def test_doctor_asks_a_compute_node(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert doctor.compute_node(gpu=False)[0].state == "note"
    answer = '[["torch", "ok", "sees a GPU"]]'
    path = fake_srun(tmp_path, f"echo \"$@\" >asked\necho 'srun: queued'\necho '{answer}'")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    assert doctor.compute_node(gpu=True) == [doctor.Check("torch", "ok", "sees a GPU")]
    asked = Path("asked").read_text()
    assert "--gpus=1 --partition=gpu" in asked
    assert sys.executable in asked
    assert not list(tmp_path.glob(".sintro-doctor-*"))


def test_doctor_tells_a_job_that_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", fake_srun(tmp_path, "echo 'srun: error: no such partition' >&2\nexit 1"))
    (check,) = doctor.compute_node(gpu=False)
    assert check.state == "bad"
    assert "no such partition" in check.found


def test_a_node_that_does_not_share_the_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "here", list)
    assert '"bad"' in doctor.answer("nothing-there")
    Path("probe").write_text("login1")
    assert '"ok", ' in doctor.answer("probe")
