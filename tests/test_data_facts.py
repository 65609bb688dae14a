"""What is known of a cell's data is written down, compared wherever data are read again, and said aloud."""

import gzip
from pathlib import Path

import made_cells
import numpy as np
import pytest
from made_images import TEST, TRAIN, idx, make
from trained import train_alone

from sintro import SintroError, report
from sintro.basics.files import load_tensors, read_json, save_tensors, write_json
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.data import image_sets, images
from sintro.data.facts import Facts
from sintro.evaluation import cell as evaluation
from sintro.report.numbers import results
from sintro.report.pages.cell import data_note
from sintro.runs import failures
from sintro.training import record
from sintro.training.players import Players

CELL = Cell.from_path("results/tiny/fmnist/vae/normal/none/seed0")
FOLDER = Path(CELL.path)


def tiny(**changes):
    given = {"iterations": 8, "warmup": 8, "conversion": None, "samples": 2, "batch_size": 20, "channels": (4, 8)}
    given |= {"evaluation_images": 40, "snapshots": (), "milestones": ()}
    return published(CELL).model_copy(update=given | changes)


def write_data(root, train_seed=0, test_seed=1):
    """FashionMNIST's files as plain ones, of the made shapes and whatever content the seeds draw."""
    for prefix, count, seed in (("train", TRAIN, train_seed), ("t10k", TEST, test_seed)):
        drawn = np.random.RandomState(seed)
        pixels = drawn.randint(0, 256, (count, 28, 28), dtype=np.uint8)
        folder = root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pixels))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return root


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three data roots: the content that counts as published, another training split, and another test split."""
    monkeypatch.chdir(tmp_path)
    content = make("fmnist", monkeypatch)
    right = tmp_path / "right"
    for path, packed in content.files.items():
        plain = right / path.removesuffix(".gz")
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(gzip.decompress(packed))
    roots = {"right": right, "train": write_data(tmp_path / "train", 5), "test": write_data(tmp_path / "test", 0, 6)}

    def use(which):
        monkeypatch.setenv("SINTRO_DATA", str(roots[which]))

    use("right")
    return use


def train(settings=None, **options):
    return train_alone(CELL, settings or tiny(), **options)


def interrupt(monkeypatch, after):
    """Train so far, write a checkpoint, and die."""
    step = Players.step

    def stop(self, iteration, mean_responsibilities=False):
        if iteration == after:
            raise KeyboardInterrupt
        return step(self, iteration, mean_responsibilities)

    with monkeypatch.context() as patch:
        patch.setattr(Players, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(checkpoint_every=0)
    return load_tensors(FOLDER / "checkpoint.pt", "")


def contents():
    """Every file of the cell's folder, but for the one that says why the last command was refused."""
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != failures.NAME}


def test_checkpoint_and_provenance_hold_the_same_facts(data, monkeypatch):
    facts = images.load("fmnist", "train").facts
    assert facts.recorded() == {
        "data_sha256": images.load("fmnist", "train").sha256,
        "data_test_sha256": images.load("fmnist", "test").sha256,
        "data_verified": True,
    }
    checkpoint = interrupt(monkeypatch, 4)
    assert facts.recorded().items() <= checkpoint.items()
    assert train() == 0
    assert facts.recorded().items() <= read_json(FOLDER / "provenance.json").items()


@pytest.mark.parametrize(("other", "split"), [("train", "training"), ("test", "test")])
def test_a_run_does_not_go_on_with_other_data(other, split, data, monkeypatch):
    interrupt(monkeypatch, 4)
    before = contents()
    data(other)
    with pytest.raises(SintroError, match=rf"checkpoint.pt was made with other data: the {split} split .*--restart"):
        train()
    assert contents() == before
    data("right")
    assert train() == 0


def test_restart_takes_the_other_data_and_an_older_checkpoint_is_taken_up(data, monkeypatch):
    checkpoint = interrupt(monkeypatch, 4)
    for key in ("data_sha256", "data_test_sha256", "data_verified"):
        del checkpoint[key]
    save_tensors(FOLDER / "checkpoint.pt", checkpoint)
    assert train() == 0
    data("train")
    assert train(restart=True) == 0
    assert read_json(FOLDER / "provenance.json")["data_verified"] is False


@pytest.mark.parametrize("other", ["train", "test"])
def test_a_finished_cell_is_done_only_with_its_own_data(other, data, capsys):
    assert train() == 0
    before = contents()
    assert train() == 0
    assert "is done already" in capsys.readouterr().err
    data(other)
    with pytest.raises(SintroError, match=rf"{FOLDER} was made with other data: .*anew with --restart"):
        train()
    with pytest.raises(SintroError, match=rf"{FOLDER} was made with other data: .*sintro train {FOLDER} --restart"):
        evaluation.evaluate(CELL, device="cpu", threads=1)
    assert contents() == before


def test_a_finished_cell_stays_done_where_its_data_are_not(data, monkeypatch, tmp_path, capsys):
    assert train() == 0
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path / "nowhere"))
    assert train() == 0
    said = capsys.readouterr().err
    assert "was not compared with the data: fmnist: 4 of 4 files are missing" in said
    assert "is done already" in said


def test_unverified_data_are_said_once_and_written_down(data, capsys):
    data("train")
    assert train() == 0
    said = capsys.readouterr().err
    assert said.count("fmnist is unverified, so nothing made of it is comparable") == 1
    provenance = read_json(FOLDER / "provenance.json")
    assert provenance["data_verified"] is False
    assert "train-images-idx3-ubyte" in provenance["data_unverified"]
    assert "t10k" not in provenance["data_unverified"]  # the published content
    data("right")
    assert train(restart=True) == 0
    assert "unverified" not in capsys.readouterr().err
    assert "data_unverified" not in read_json(FOLDER / "provenance.json")


def test_broken_test_files_stop_a_training_before_it_writes_anything(data, tmp_path):
    (tmp_path / "right/FashionMNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(SintroError, match="t10k-images-idx3-ubyte is corrupted"):
        train()
    assert [path.name for path in FOLDER.iterdir()] == [failures.NAME]  # why there is nothing else


def test_digits_of_another_scikit_learn_are_unverified(monkeypatch):
    assert images.load("digits", "test").facts.verified is True
    monkeypatch.setitem(image_sets.DIGITS_SHA256, "test", "0" * 64)
    facts = images.load("digits", "train").facts
    assert facts.verified is False
    assert "scikit-learn" in facts.warning("digits")


def test_evaluation_says_and_writes_down_what_it_measured_with(tmp_path, monkeypatch, capsys):
    """On digits, which are there everywhere, made unverified."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(image_sets.DIGITS_SHA256, "test", "0" * 64)
    cell = Cell.from_path("results/tiny/digits/vae/normal/none/seed0")
    changes = {"network": "residual", "latent_size": 4, "event": (1, 16, 16), "scale": 1 / 256, "dataset": "digits"}
    settings = tiny(**changes)
    assert train_alone(cell, settings) == 0
    capsys.readouterr()
    monkeypatch.setattr(evaluation, "ImageEvaluation", NoMeasurement)
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert capsys.readouterr().err.count("digits is unverified") == 1
    provenance = read_json(Path(cell.path) / "provenance.json")
    for key in ("data_sha256", "data_test_sha256", "data_verified", "data_unverified"):
        assert metrics[key] == provenance[key]
    result = results.read_cell(cell)
    assert "not those of the benchmark" in data_note(result)
    # what an earlier evaluation measured with other data is not taken over
    stored = read_json(Path(cell.path) / "metrics.json")
    earlier = {"data_sha256": "1" * 64, "cfid_over_iterations": {"3": 9.0}}
    write_json(Path(cell.path) / "metrics.json", stored | earlier)
    assert evaluation.evaluate(cell, device="cpu", threads=1)["cfid_over_iterations"] == {"8": 1.0}


class NoMeasurement:
    """Stands for the measurement itself, which takes a minute."""

    def __init__(self, *_):
        pass

    def measure(self, snapshots):
        last = max(snapshots)
        return {"cfid_over_iterations": {str(last): 1.0}, "selected_iteration": last}, {}


def test_a_diverged_cells_metrics_repeat_what_its_training_knew(data):
    assert train(tiny(learning_rate=1e9)) == 0
    provenance = read_json(FOLDER / "provenance.json")
    assert provenance["status"] == "diverged"
    assert evaluation.evaluate(CELL, device="cpu", threads=1)["data_sha256"] == provenance["data_sha256"]


def test_a_density_is_drawn_afresh_and_has_no_hash():
    cell = Cell.from_path("results/tiny/rings/vae/normal/none/seed0")
    facts = Players([published(cell)]).data.facts
    assert facts.recorded() == {"data_sha256": None}
    assert facts.warning("rings") is None
    facts.refuse_other({"data_sha256": None}, "a run", "rings", "")
    facts.refuse_other({}, "a run of an older version", "rings", "")
    task = record.Task(cell, published(cell), {}, "")
    record._compare_data(task, {"data_sha256": None})


def test_a_hash_of_other_data_is_refused_whatever_else_fits():
    facts = Facts("a" * 64, "b" * 64, True)
    facts.refuse_other(facts.recorded(), "it", "mnist", "")
    facts.refuse_other({"data_sha256": "a" * 64}, "it", "mnist", "")  # of a version that knew one split
    for key in ("data_sha256", "data_test_sha256"):
        with pytest.raises(SintroError, match=r"cccccccccccc\.\.\., and now has"):
            facts.refuse_other(facts.recorded() | {key: "c" * 64}, "it", "mnist", "")


@pytest.mark.parametrize("diverged_at", [None, 5])
def test_a_cells_page_says_that_its_data_are_unverified(diverged_at, write_study):
    cells = "cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]"
    write_study("small", f"title: Small\nseeds: [0, 1]\n{cells}\n")
    known, unknown = studies.load("small").cells()
    said = "folder/train-images: not the published content"
    made_cells.write_cell("results", unknown, diverged_at=diverged_at, data_verified=False, data_unverified=said)
    made_cells.write_cell("results", known, data_verified=True)
    report.build(["small"])
    pages = {seed: Path("reports/small").rglob(f"*seed{seed}*") for seed in (0, 1)}
    (verified,), (unverified,) = ([page.read_text() for page in found if page.is_file()] for found in pages.values())
    assert f"Unverified data, so not comparable: {said}" in unverified
    assert "Unverified" not in verified
