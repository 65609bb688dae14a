"""The judge of a cell's folder: which numbers count, which step comes next; one bad file never stops a study."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import made_cells
import pytest

from sintro import metrics
from sintro.__main__ import main
from sintro.basics.files import write_json
from sintro.cells import studies
from sintro.report.numbers.results import read_cell
from sintro.runs import failures, results, stored

STUDY = """
title: Tiny
comparable: false
seeds: [0]
overrides: {iterations: 30, batch_size: 32, samples: 2, evaluation_points: 50, evaluation_grid: 16}
cells: [{datasets: [rings], objectives: [vae], priors: [normal], betas: {rec: [0.5, 1, 2], kl: [1]}}]
"""


@pytest.fixture
def cells(write_study):
    write_study("tiny", STUDY)
    return studies.load("tiny").cells()


def put(cell, name, content):
    write_json(Path(cell.path, name), content)


def change(cell, name, **changes):
    """Change keys of a file of the cell; None removes one."""
    content = json.loads(Path(cell.path, name).read_text()) | changes
    put(cell, name, {key: value for key, value in content.items() if value is not None})


def made(cell, **options):
    """A finished, evaluated cell with its model."""
    return made_cells.write_cell("results", cell, arrays=False, **options)


def state_and_step(cell):
    found = results.judge(cell)
    return found.state, found.step


# --- which numbers count


def test_three_digests_that_agree_make_a_number_count(cells):
    made(cells[0])
    assert state_and_step(cells[0]) == ("done", "nothing")
    assert read_cell(cells[0]).value("kl_published") is not None


def test_a_model_is_not_needed_once_its_metrics_count(cells):
    made(cells[0])
    Path(cells[0].path, "model.pt").unlink()
    assert state_and_step(cells[0]) == ("done", "nothing")
    assert results.needed(cells[0]) == "nothing"


def test_metrics_of_a_try_out_beside_the_studys_own_model_do_not_count(cells):
    made(cells[0])
    change(cells[0], "metrics.json", digest=studies.settings(cells[0], 10).digest)
    assert state_and_step(cells[0]) == ("to evaluate", "evaluate")
    found = read_cell(cells[0])
    assert (found.state, found.value("kl_published")) == ("to evaluate", None)
    assert "other settings than provenance.json" in found.reason


def test_a_cell_trained_at_another_length_does_not_count(cells):
    made(cells[0], settings=studies.settings(cells[0], 10))
    assert state_and_step(cells[0]) == (results.OTHER, "train")
    assert read_cell(cells[0]).metrics == {}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"finished": "2026-01-01T00:10:00+00:00"}, "done"),
        ({"finished": "2025-01-01T00:10:00+00:00"}, "to evaluate"),
        ({"model_sha256": "1" * 64}, "done"),  # provenance does not say: nothing to compare it with
        ({"digest": None}, "to evaluate"),
    ],
)
def test_metrics_of_another_training_do_not_count_where_both_say_which(cells, changes, state):
    made(cells[0])
    change(cells[0], "metrics.json", **changes)
    assert results.judge(cells[0]).state == state


def test_metrics_of_another_model_do_not_count(cells):
    made(cells[0], model_sha256="0" * 64)
    assert results.judge(cells[0]).state == "done"
    change(cells[0], "metrics.json", model_sha256="1" * 64)
    assert state_and_step(cells[0]) == ("to evaluate", "evaluate")


def test_settings_that_nobody_knows_agree_with_nothing(cells, write_study):
    made(cells[0])
    write_study("tiny", STUDY.replace("seeds: [0]", "seeds: [zero]"))
    found = results.judge(cells[0])
    assert found.state == results.OTHER
    assert "seeds[0]" in found.reason


def test_divergence_is_a_result_as_soon_as_training_says_so(cells):
    folder = made(cells[0], diverged_at=7)
    assert state_and_step(cells[0]) == ("diverged", "nothing")
    (folder / "metrics.json").unlink()
    assert state_and_step(cells[0]) == ("diverged", "evaluate")
    assert results.judge(cells[0]).reason == "at iteration 7: loss_encoder is nan"


def test_an_evaluation_may_find_that_a_model_diverged(cells):
    made(cells[0])
    change(cells[0], "metrics.json", status="diverged", reason="weights are not finite")
    assert state_and_step(cells[0]) == ("diverged", "nothing")


@pytest.mark.parametrize("digest", [None, "0" * 16])
def test_a_training_whose_model_is_gone_before_it_was_evaluated_is_to_be_done_again(cells, digest):
    folder = made(cells[0])
    (folder / "model.pt").unlink()
    change(cells[0], "metrics.json", digest=digest)
    assert state_and_step(cells[0]) == ("missing", "train")
    assert "model.pt is gone" in results.judge(cells[0]).reason


def test_what_a_fleet_hands_over_waits_for_its_own_train(cells):
    folder = made(cells[0])
    (folder / "metrics.json").unlink()
    (folder / "provenance.json").rename(folder / "provenance.fleet.json")
    assert state_and_step(cells[0]) == ("to evaluate", "train")


def test_numbers_of_an_older_definition_are_shown_as_to_be_evaluated_again(cells, monkeypatch):
    for cell in cells:
        made(cell)
    known = metrics.METRICS["kl_published"]
    newer = dataclasses.replace(known, version=known.version + 1)
    monkeypatch.setitem(metrics.METRICS, "kl_published", newer)
    found = read_cell(cells[0])
    assert (found.state, found.value("kl_published")) == ("done", None)
    assert found.value("jsd_published") is not None
    assert "evaluate again: an older definition computed kl_published" in found.notes
    assert main(["report", "tiny"]) == 0
    for page in ("index", "rings/vae-rec0.5-kl1/normal/none/seed0"):
        assert "evaluate again" in Path(f"reports/tiny/{page}.html").read_text()
    assert ",evaluate again,published,kl_published," in Path("reports/tiny/tables/table1.csv").read_text()
    assert main(["choose", "tiny"]) == 2  # there is nothing to choose by
    change(cells[0], "metrics.json", metric_versions={"kl_published": newer.version})
    assert read_cell(cells[0]).value("kl_published") is not None


# --- failures


def fail(cell, step, when=None, **facts):
    failures.write(Path(cell.path), step, "no space left\nhere", **facts)
    if when is not None:
        change(cell, failures.NAME, when=when)


def test_a_failure_is_a_state_with_its_step_message_and_log(cells):
    fail(cells[0], "train", log="logs/slurm.log")
    found = results.judge(cells[0])
    assert (found.state, found.step) == ("failed", "train")
    assert found.reason == "train: no space left here (log: logs/slurm.log)"


@pytest.mark.parametrize(
    ("step", "facts", "state"),
    [
        ("evaluate", {}, "failed"),
        ("train", {}, "to evaluate"),  # that step has succeeded since
        ("evaluate", {"when": "2020-01-01T00:00:00Z"}, "to evaluate"),  # of an earlier training
        ("evaluate", {"digest": "0" * 16}, "to evaluate"),  # of other settings
        ("evaluate", {"when": "yesterday"}, "failed"),  # nobody knows which was first
    ],
)
def test_a_failure_counts_for_the_step_that_comes_next(cells, step, facts, state):
    folder = made(cells[0])
    (folder / "metrics.json").unlink()
    fail(cells[0], step, **facts)
    assert results.judge(cells[0]).state == state


def test_a_cell_that_is_done_has_no_failure(cells):
    made(cells[0])
    fail(cells[0], "evaluate")
    assert results.judge(cells[0]).state == "done"


# --- everything asks the judge


def test_every_verb_leaves_other_settings_out_and_names_them(cells, capsys):
    """The study's own cells score worse than the try-out, which would win if it counted."""
    own, try_out, stale = cells
    made(own)
    made(try_out, settings=studies.settings(try_out, 10), values=lambda cell, found: found | {"kl_published": 0.0})
    made(stale, values=lambda cell, found: found | {"kl_published": 0.0})
    change(stale, "metrics.json", digest="0" * 16)
    assert main(["status", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert f"{results.OTHER}: {try_out.path}: trained with the settings" in printed
    assert "1 of 3 cells" in printed
    assert main(["plan", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "3 cells, 1 finished, 2 left" in printed
    assert "1 to evaluate" in printed
    assert f"1 {results.OTHER}" in printed
    assert main(["choose", "tiny"]) == 0
    assert "of 3 candidates 1 done, 1 to evaluate, 1 made with other settings" in capsys.readouterr().err
    (best,) = json.loads(Path("results/tiny/chosen.json").read_text())["choices"].values()
    assert (best["cell"], best["finished"], best["missing"]) == (own.path, 1, 2)
    assert main(["report", "tiny"]) == 0
    page = Path("reports/tiny/index.html").read_text()
    assert "1 to evaluate" in page
    assert f"1 {results.OTHER}" in page
    for row in Path("reports/tiny/tables/table1.csv").read_text().splitlines()[1:]:
        assert (",1,1,0,0,0,0,0,0,0," in row) == ("rec0.5" in row)  # one of one is done, or none is
    assert [results.needed(cell) for cell in cells] == ["nothing", "train", "evaluate"]


# --- one bad file

DEEP = b"[" * 100_000 + b"]" * 100_000
HUGE = b"9" * 4_000


def contents(value):
    return lambda path: path.write_bytes(value)


def directory(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def loop(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def dangling(path):
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def forbidden(path):
    path.touch()
    path.chmod(0)


def keys(**changes):
    """Change keys of a JSON file."""

    def damage(path):
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | changes))

    return damage


def without(key):
    def damage(path):
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))

    return damage


EVERY_FILE = {
    "empty": contents(b""),
    "binary": contents(bytes(range(256)) * 4),
    "not UTF-8": contents(b'{"status": "\xff\xfe"}'),
    "cut": contents(b'{"status": "do'),
    "null": contents(b"null"),
    "a list": contents(b"[1, 2]"),
    "a number": contents(HUGE),
    "a longer number": contents(HUGE * 2),
    "deep": contents(DEEP),
    "a directory": directory,
    "a loop of links": loop,
    "a dangling link": dangling,
    "forbidden": forbidden,
    "nothing said": contents(b"{}"),
}
DAMAGE = {
    f"{name}: {kind}": (name, damage)
    for name in ("provenance.json", "metrics.json", "cell.json", "progress.json", "failure.json")
    for kind, damage in EVERY_FILE.items()
} | {
    "provenance.json: unknown status": ("provenance.json", keys(status="finished")),
    "provenance.json: no status": ("provenance.json", without("status")),
    "provenance.json: no digest": ("provenance.json", without("digest")),
    "provenance.json: a digest that is a list": ("provenance.json", keys(digest=[1])),
    "provenance.json: a time that is text": ("provenance.json", keys(wall_seconds="long")),
    "provenance.json: a time that is NaN": ("provenance.json", keys(wall_seconds=float("nan"))),
    "provenance.json: a time of another kind": ("provenance.json", keys(finished=7)),
    "provenance.json: no cell in the fleet": ("provenance.json", keys(fleet=0)),
    "provenance.json: huge": ("provenance.json", keys(iterations=10**400)),
    "provenance.json: strange commits": ("provenance.json", keys(commit=[{}], dirty="yes", cpu=None, device=3)),
    "metrics.json: text": ("metrics.json", keys(kl_published="low", jsd_published="")),
    "metrics.json: lists": ("metrics.json", keys(kl_published=[1.0], gnelbo=[])),
    "metrics.json: nulls": ("metrics.json", keys(kl_published=None, kl=None, modes_covered=None)),
    "metrics.json: huge": ("metrics.json", keys(kl_published=10**400, points=-(10**400))),
    "metrics.json: nested": ("metrics.json", keys(kl_published={"a": {"b": [1]}}, strange={"a": {"b": 10**400}})),
    "metrics.json: NaN": ("metrics.json", keys(kl_published=float("nan"), kl=float("inf"), modes_covered=float("inf"))),
    "metrics.json: truths": ("metrics.json", keys(kl_published=True, modes_covered=False)),
    "metrics.json: versions": ("metrics.json", keys(metric_versions=[1])),
    "metrics.json: a digest that is a number": ("metrics.json", keys(digest=5)),
    "cell.json: another version": ("cell.json", keys(settings={"old": 1}, cell={"path": 5}, sources=[], command={})),
    "cell.json: settings": ("cell.json", keys(settings={"dataset": "rings", "iterations": "many"})),
    "progress.json: text": ("progress.json", keys(host="a", pid="one", done="2", total=None)),
    "progress.json: huge": ("progress.json", keys(host="a", pid=10**30, done=1, total=10**400)),
    "progress.json: negative": ("progress.json", keys(host="a", pid=-1, done=-5, total=0)),
    "progress.json: lists": ("progress.json", keys(host=["a"], pid=[], done={}, total=[])),
    "progress.json: beyond the end": ("progress.json", keys(host="a", pid=1, done=9, total=0, ms_per_iteration=1e300)),
    "progress.json: pace": ("progress.json", keys(host="a", pid=1, done=1, total=9, ms_per_iteration="quick")),
    "history.csv: binary": ("history.csv", contents(bytes(range(256)))),
    "history.csv: empty": ("history.csv", contents(b"")),
    "history.csv: a directory": ("history.csv", directory),
    "history.csv: a loop of links": ("history.csv", loop),
    "history.csv: a long field": ("history.csv", contents(b"iteration\n" + b"1" * 200_000 + b"\n")),
    "arrays.npz: binary": ("arrays.npz", contents(b"PK\x03\x04 nonsense")),
    "arrays.npz: a directory": ("arrays.npz", directory),
    "checkpoint.pt: a directory": ("checkpoint.pt", directory),
    "model.pt: a directory": ("model.pt", directory),
    "the folder is a file": ("", lambda folder: (shutil.rmtree(folder), folder.write_text("in the way"))),
    "the folder is a loop": ("", lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder.name))),
}
SURVEYS = (("status",), ("plan",), ("clean",), ("choose",))


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("trained", [True, False], ids=["finished", "begun"])
def test_one_bad_file_stops_no_verb(cells, capsys, kind, trained):
    """status, plan, clean and choose go through the study, and the other cells are counted as ever."""
    bad, good, _ = cells
    made(good)
    made(bad)
    name, damage = DAMAGE[kind]
    if not trained:
        for file in {"provenance.json", "metrics.json", "model.pt"} - {name}:
            Path(bad.path, file).unlink()
    damage(Path(bad.path, name))
    for verb in SURVEYS:
        assert main([*verb, "tiny"]) == 0, verb
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        for line in (printed.out + printed.err).splitlines():
            assert len(line) < 1000
    found = results.judge(bad)
    assert found.state in results.STATES
    assert results.judge(good).state == "done"
    if found.state == "unreadable":
        assert main(["status", "tiny"]) == 0
        assert f"unreadable: {bad.path}: {bad.path}" in capsys.readouterr().out  # which file, in one line
    (best,) = json.loads(Path("results/tiny/chosen.json").read_text())["choices"].values()
    counts = found.state == "done" and math.isfinite(read_cell(bad).value("kl_published") or math.nan)
    assert best["finished"] == 1 + counts


def test_one_bad_file_stops_no_report(cells, write_study):
    """A study with one cell for each kind of damage: each has its page, and the good one its number."""
    count = len(DAMAGE)
    write_study("tiny", STUDY.replace("seeds: [0]", f"seeds: {list(range(count + 1))}").replace("[0.5, 1, 2]", "[1]"))
    *damaged, good = studies.load("tiny").cells()
    for cell, (name, damage) in zip(damaged, DAMAGE.values(), strict=True):
        made(cell)
        damage(Path(cell.path, name))
    made(good)
    assert main(["report", "tiny"]) == 0
    assert len(list(Path("reports/tiny").rglob("seed*.html"))) == count + 1
    page = Path(f"reports/tiny/rings/vae-rec1-kl1/normal/none/seed{good.seed}.html").read_text()
    assert "state-done" in page


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if not kind.startswith(("arrays", "failure"))])
def test_one_bad_file_stops_no_other_evaluation(cells, capsys, monkeypatch, kind):
    """`evaluate` of a bad and a good cell: the bad one is one line and code 2 at most, the good one is evaluated."""
    from sintro import report
    from sintro.evaluation import cell as evaluation

    bad, good, _ = cells
    made(good)
    made(bad)
    name, damage = DAMAGE[kind]
    damage(Path(bad.path, name))
    Path(good.path, "metrics.json").unlink()
    measured = {"kl_published": 1.0, "status": "done", "digest": studies.settings(good).digest}
    monkeypatch.setattr(evaluation, "_outcome", lambda *_: (measured.copy(), {}))
    monkeypatch.setattr(report, "draw_cell", lambda folder: stored.read(folder, stored.CellFile))
    code = main(["evaluate", bad.path, good.path])
    printed = capsys.readouterr().err
    assert code in (0, 2)
    assert (code == 2) == printed.startswith("error: ")
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) <= 1
    assert results.judge(good).state == "done"


def test_train_goes_by_content(cells, capsys, monkeypatch):
    """Metrics that count stand for a model that is gone; nothing stands for a model that was never evaluated."""
    from sintro.training import tasks as training

    begun = []
    monkeypatch.setattr(training, "_train_together", lambda tasks, *_: begun.extend(tasks) or 0)
    done, lost, bad = cells
    for cell in cells:
        made(cell)
        Path(cell.path, "model.pt").unlink()
    Path(lost.path, "metrics.json").unlink()
    without("status")(Path(bad.path, "provenance.json"))
    assert main(["train", *(cell.path for cell in cells)]) == 2
    assert [task.cell for task in begun] == [lost]
    printed = capsys.readouterr().err
    assert f"{done.path} is done already" in printed
    assert f"error: {bad.path}/provenance.json: status: this key is missing; train the cell anew: sintro" in printed
    assert json.loads(Path(bad.path, "metrics.json").read_text())["status"] == "done"  # nothing is lost


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_bad_file_stops_no_other_training(cells, capsys, monkeypatch, kind):
    """`train` of a bad and a good cell: the good one is accepted as finished, the bad one is one line or is trained."""
    from sintro.training import tasks as training

    bad, good, _ = cells
    made(bad)
    made(good)
    name, damage = DAMAGE[kind]
    damage(Path(bad.path, name))
    begun = []
    monkeypatch.setattr(training, "_train_together", lambda tasks, *_: begun.extend(tasks) or 0)
    code = main(["train", bad.path, good.path])
    printed = capsys.readouterr().err
    assert f"{good.path} is done already" in printed
    refused = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert (code, len(refused)) in ((0, 0), (2, 1))
    assert [task.cell for task in begun] in ([], [bad])
    assert not (begun and refused)


def test_a_folder_that_leads_nowhere_is_unreadable_and_not_waiting(cells):
    folder = Path(cells[0].path)
    folder.parent.mkdir(parents=True)
    folder.symlink_to("/nowhere")
    found = results.judge(cells[0])
    assert (found.state, found.step) == ("unreadable", "train")
    assert "leads to /nowhere by a link" in found.reason
