"""Fleets: the same files and results as single cells, resuming, divergence, mixed beginnings, and which cells go."""

import csv
import itertools
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import Write
from test_training import MOG, NORMAL, small
from torch.utils._python_dispatch import TorchDispatchMode

from sintro import SintroError
from sintro.__main__ import main
from sintro.basics.files import read_json
from sintro.basics.randomness import Tape, generator, normal, uniform
from sintro.cells import fleets, presets, studies
from sintro.cells.cell import Cell
from sintro.priors import expanded, mixture
from sintro.runs import devices, history
from sintro.runs.folder import HANDED_OVER
from sintro.training import loop
from sintro.training import tasks as training
from sintro.training.graphs import EAGER
from sintro.training.players import Players
from sintro.training.record import Task

CELLS = [MOG, MOG.replace("seed0", "seed1"), MOG.replace("rings", "8gaussians")]
FILES = {"cell.json", "history.csv", "model.pt", "provenance.json"}


def run(paths, *, fleet=None, **changes):
    """Train cells side by side -> the exit code."""
    options = {name: changes.pop(name) for name in ("checkpoint_every", "restart", "hand_over") if name in changes}
    tasks = [Task(Cell.from_path(path), small(path, **changes), {}, f"sintro train {path}") for path in paths]
    return training.train_all(tasks, training.Options("cpu", 1, **options), fleet or len(paths))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def before_step(monkeypatch, what):
    """Have ``what(players, iteration)`` done before every iteration."""
    step = Players.step

    def other(self, iteration, mean_responsibilities=False):
        what(self, iteration)
        return step(self, iteration, mean_responsibilities)

    monkeypatch.setattr(Players, "step", other)


def stop_after(monkeypatch, count):
    before_step(monkeypatch, lambda _, i: os.kill(os.getpid(), signal.SIGTERM) if i + 1 == count else None)


def final_files(paths):
    return {path: [(Path(path) / name).read_bytes() for name in ("model.pt", "history.csv")] for path in paths}


def parameters(path):
    model = torch.load(Path(path, "model.pt"), weights_only=True)
    return {f"{player} {name}": value for player, own in model["parameters"].items() for name, value in own.items()}


def rows(path):
    lines = Path(path, "history.csv").read_text().splitlines()
    return [[float(field or "nan") for field in line.split(",")] for line in lines[1:]]


def assert_near(path, other, until=None):
    """Two trainings of a cell agree to float accuracy, over their first rows or to the end."""
    first, second = (torch.tensor(rows(folder)[:until]) for folder in (path, other))
    torch.testing.assert_close(first, second, rtol=2e-3, atol=2e-3, equal_nan=True)
    if until is None:
        theirs = parameters(other)
        for name, value in parameters(path).items():
            torch.testing.assert_close(value, theirs[name], rtol=2e-2, atol=5e-4, msg=name)


# --- the folders of a fleet


def test_a_fleet_leaves_in_each_folder_what_a_single_cell_leaves(here):
    assert run(CELLS) == 0
    together = Path("results").rename("together")
    assert all(run([path]) == 0 for path in CELLS)
    for path in CELLS:
        fleet_folder = together / Path(path).relative_to("results")
        assert {file.name for file in fleet_folder.iterdir()} == {file.name for file in Path(path).iterdir()} == FILES
        assert (fleet_folder / "cell.json").read_bytes() == Path(path, "cell.json").read_bytes()
        assert_near(fleet_folder, path)
        found, alone = (read_json(folder / "provenance.json") for folder in (fleet_folder, Path(path)))
        assert found.keys() == alone.keys() | {"fleet"}
        assert (found["fleet"], found["status"], found["digest"]) == (3, "done", alone["digest"])


def test_cells_that_are_finished_are_left_out(here, capsys):
    run(CELLS[:1])
    before = final_files(CELLS[:1])
    assert run(CELLS[:2]) == 0
    assert "done already" in capsys.readouterr().err
    assert final_files(CELLS[:1]) == before
    assert "fleet" not in read_json(Path(CELLS[1], "provenance.json"))  # it was then alone


def test_so_many_at_a_time(here):
    assert run(CELLS, fleet=2, iterations=6, warmup=3, conversion=2) == 0
    beside = [read_json(Path(path, "provenance.json")).get("fleet", 1) for path in CELLS]
    assert beside == [2, 2, 1]


def test_cells_of_unequal_shape_are_refused_before_anything_is_written(here):
    with pytest.raises(SintroError, match="must agree in components"):
        run([MOG, MOG.replace("mog4", "mog8")])
    assert not Path("results").exists()


def test_a_fleet_with_a_cell_that_another_process_trains_is_refused(here):
    settings = small(CELLS[1])
    with training.Lock(Path(CELLS[1]), settings.iterations, "cpu"), pytest.raises(SintroError, match="being trained"):
        run(CELLS)
    assert not any(Path(path, "progress.json").exists() for path in CELLS)


# --- resuming


@pytest.mark.parametrize("after", [10, 15, 20, 33])
def test_a_fleet_that_was_stopped_resumes_to_the_same_bits(here, monkeypatch, after):
    assert run(CELLS) == 0
    expected = final_files(CELLS)
    with monkeypatch.context() as patch:
        stop_after(patch, after)
        assert run(CELLS, restart=True) == training.INTERRUPTED
    for path in CELLS:
        assert torch.load(Path(path, "checkpoint.pt"), weights_only=True)["iteration"] == after
        assert not Path(path, "provenance.json").exists()
        assert not Path(path, "progress.json").exists()
    assert run(CELLS) == 0
    assert final_files(CELLS) == expected
    assert all(read_json(Path(path, "provenance.json"))["resumed"] == 1 for path in CELLS)


def test_checkpoints_of_fleets_and_of_single_cells_are_the_same(here, monkeypatch):
    """A fleet's is taken up by a cell alone, and a cell's by a fleet."""
    for path in CELLS[:2]:
        run([path])
    alone = Path("results").rename("alone")
    with monkeypatch.context() as patch:
        stop_after(patch, 17)
        run(CELLS[:2])
    assert run(CELLS[:1]) == 0
    assert_near(CELLS[0], alone / Path(CELLS[0]).relative_to("results"))
    with monkeypatch.context() as patch:
        stop_after(patch, 25)
        assert run(CELLS[1:2]) == training.INTERRUPTED
    assert run(CELLS[1:]) == 0
    assert_near(CELLS[1], alone / Path(CELLS[1]).relative_to("results"))
    assert len(rows(CELLS[2])) == len(rows(CELLS[1])) == 40


def test_cells_that_are_not_equally_far_meet_on_their_way(here, monkeypatch):
    for path in CELLS:
        run([path])
    alone = Path("results").rename("alone")
    for path, after in zip(CELLS[:2], (8, 22), strict=True):
        with monkeypatch.context() as patch:
            stop_after(patch, after)
            run([path])
    seen = []
    with monkeypatch.context() as patch:
        before_step(patch, lambda players, i: seen.append((i, len(players.settings))))
        assert run(CELLS) == 0
    assert [size for _, size in seen] == [1] * 8 + [2] * 14 + [3] * 18
    assert [iteration for iteration, _ in seen] == list(range(40))
    for path in CELLS:
        assert_near(path, alone / Path(path).relative_to("results"))
    assert [read_json(Path(path, "provenance.json"))["resumed"] for path in CELLS] == [1, 1, 0]


def test_a_signal_between_two_parts_leaves_the_second_for_later(here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 40)  # in the last iteration: the first cell is finished all the same
        assert run(CELLS[:2], fleet=1) == training.INTERRUPTED
    assert Path(CELLS[0], "model.pt").exists()
    assert not Path(CELLS[1]).exists()


@pytest.mark.parametrize("fleet", [1, 2])
def test_a_damaged_checkpoint_of_one_cell_keeps_no_other_from_training(here, fleet):
    damaged, good = CELLS[:2]
    Path(damaged).mkdir(parents=True)
    Path(damaged, "checkpoint.pt").write_bytes(b"cut")
    with pytest.raises(SintroError, match=f"{damaged}/checkpoint.pt cannot be read"):
        run([damaged, good], fleet=fleet, iterations=4, warmup=3, conversion=2, milestones=())
    assert Path(good, "model.pt").exists()
    assert Path(damaged, "checkpoint.pt").read_bytes() == b"cut"
    assert read_json(Path(damaged, "failure.json"))["step"] == "train"


# --- divergence


@pytest.mark.parametrize("look_every", [1, 7])
def test_a_cell_that_diverges_leaves_and_the_others_end_as_without_it(here, monkeypatch, look_every):
    others = [NORMAL.replace("seed0", f"seed{seed}") for seed in (1, 2)]
    assert run(others) == 0
    alone = Path("results").rename("alone")

    def spoil(players, iteration):
        if iteration == 23 and len(players.settings) == 3:
            players.model.encoder.biases[0].data[0, 0] = float("inf")

    monkeypatch.setitem(loop.LOOK_EVERY, "cpu", look_every)
    monkeypatch.setattr(loop.Record, "logs", lambda self, iteration: (iteration + 1) % 10 == 0)
    sizes = []
    before_step(monkeypatch, lambda players, i: (sizes.append(len(players.settings)), spoil(players, i)))
    assert run([NORMAL, *others], iterations=40) == 0
    assert sizes.count(2) == {1: 16, 7: 13}[look_every]  # noticed at once, or at the next look
    lost = read_json(Path(NORMAL, "provenance.json"))
    assert (lost["status"], lost["diverged_at"]) == ("diverged", 23)
    assert {file.name for file in Path(NORMAL).iterdir()} == FILES - {"model.pt"}
    assert [row[0] for row in rows(NORMAL)] == [10, 20, 24]
    for path in others:
        assert read_json(Path(path, "provenance.json"))["status"] == "done"
        theirs = parameters(alone / Path(path).relative_to("results"))
        for name, value in parameters(path).items():
            torch.testing.assert_close(value, theirs[name], rtol=2e-2, atol=5e-4, msg=name)


def test_what_a_late_look_no_longer_knows_is_left_out(here, monkeypatch):
    """The last row of a cell that diverged earlier has no variances of the prior as it became since."""
    step = Players.step

    def spoilt(self, iteration, mean_responsibilities=False):
        terms = step(self, iteration, mean_responsibilities)
        return terms | {"loss_encoder": terms["loss_encoder"] * math.nan} if iteration == 23 else terms

    monkeypatch.setattr(Players, "step", spoilt)
    monkeypatch.setattr(loop.Record, "logs", lambda self, iteration: (iteration + 1) % 10 == 0)
    shown = {}
    for look_every in (1, 7):
        monkeypatch.setitem(loop.LOOK_EVERY, "cpu", look_every)
        assert run([MOG], restart=True) == 0
        last = list(csv.DictReader(Path(MOG, "history.csv").read_text().splitlines()))[-1]
        assert last["iteration"] == "24"
        shown[look_every] = [last["prior_log_var_min"], last["prior_log_var_max"]]
    assert math.nan not in map(float, shown[1])
    assert shown[7] in (["", ""], ["nan", "nan"])


def test_a_fleet_whose_cells_all_diverge_is_finished(here, monkeypatch):
    def spoil(players, iteration):
        players.model.encoder.biases[0].data.fill_(float("inf"))

    before_step(monkeypatch, spoil)
    assert run(CELLS[:2]) == 0
    assert all(read_json(Path(path, "provenance.json"))["status"] == "diverged" for path in CELLS[:2])


def test_looking_seldom_changes_no_result(here, monkeypatch):
    run([MOG])
    expected = final_files([MOG])
    monkeypatch.setitem(loop.LOOK_EVERY, "cpu", 7)
    run([MOG], restart=True)
    assert final_files([MOG]) == expected


def test_terms_that_the_next_iteration_overwrites_are_seen_as_they_were(here, monkeypatch):
    """CUDA graphs write every iteration's terms to the same memory."""
    step, memory = Players.step, {}

    def replayed(self, iteration, mean_responsibilities=False):
        terms = step(self, iteration, mean_responsibilities)
        if iteration == 3:
            terms["loss_encoder"] = torch.full_like(terms["loss_encoder"], float("nan"))
        return {name: memory.setdefault(name, term.clone()).copy_(term) for name, term in terms.items()}

    monkeypatch.setattr(Players, "step", replayed)
    monkeypatch.setattr(loop.Record, "logs", lambda self, iteration: False)
    monkeypatch.setitem(loop.LOOK_EVERY, "cpu", 7)
    assert run([NORMAL]) == 0
    assert read_json(Path(NORMAL, "provenance.json"))["diverged_at"] == 3


# --- a study's fleets

STUDY = """
title: Tiny
comparable: false
seeds: [0, 1]
fleet: {fleet}
overrides: {{iterations: 6, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}}
cells:
  - {{datasets: [rings, spirals], objectives: [vae], priors: [normal]}}
  - {{datasets: [rings], objectives: [soft-introvae], priors: [mog4-learned, mog8-learned], regularizers: [clip]}}
"""


def test_a_study_is_cut_into_fleets_of_equal_shape(write_study: Write):
    write_study("tiny", STUDY.format(fleet="auto"))
    study = studies.load("tiny")
    found = fleets.of_study(study)
    assert sorted(map(len, found.values())) == [2, 2, 4]
    assert sorted(cell.path for part in found.values() for cell in part) == sorted(cell.path for cell in study.cells())
    for part in found.values():
        fleets.check_equal_shape([studies.settings(cell) for cell in part])
    write_study("tiny", STUDY.format(fleet=3))
    assert sorted(map(len, fleets.of_study(studies.load("tiny")).values())) == [2, 2, 3]  # one cell is left to itself
    write_study("tiny", STUDY.format(fleet=1))
    assert fleets.of_study(studies.load("tiny")) == {}


def test_a_fleets_name_follows_its_cells_and_their_settings(write_study: Write):
    def names(text):
        write_study("tiny", text)
        return list(fleets.of_study(studies.load("tiny")))

    text = STUDY.format(fleet="auto")
    first = names(text)
    assert first[0].startswith("vae-normal-")
    assert names(text.replace("Tiny", "Titled anew")) == first
    assert not set(names(text.replace("samples: 2", "samples: 3"))) & set(first[1:])
    longer = names(text.replace("[mog4-learned, mog8-learned]", "[mog4-learned, mog8-learned, mog16-learned]"))
    assert longer[: len(first)] == first


@pytest.mark.parametrize("value", ["0", "-2", "many", "1.5"])
def test_a_fleet_is_a_number_or_auto(write_study: Write, value: str):
    write_study("tiny", STUDY.format(fleet=value))
    with pytest.raises(SintroError, match=r"tiny\.yaml: fleet"):
        studies.load("tiny")


def test_images_do_not_train_in_fleets(write_study: Write):
    write_study("tiny", STUDY.format(fleet=2).replace("[rings, spirals]", "[rings, digits]"))
    with pytest.raises(SintroError, match="digits is a set of images: only 2D cells train side by side; legal is 1"):
        studies.load("tiny")


def test_a_fleet_of_the_workflow_leaves_the_last_step_to_each_cell(write_study: Write, capsys):
    write_study("tiny", STUDY.format(fleet=3))
    assert main(["fleet", "tiny"]) == 0
    name = capsys.readouterr().out.split()[0]
    assert main(["fleet", "tiny", name, "--device", "cpu", "--threads", "1"]) == 0
    members = fleets.of_study(studies.load("tiny"))[name]
    assert len(members) == 3
    handed_over = {file.name for file in Path(members[0].path).iterdir()}
    assert handed_over == FILES - {"provenance.json"} | {HANDED_OVER}
    assert main(["fleet", "tiny", name, "--device", "cpu"]) == 0  # nothing is left to do
    before = Path(members[0].path, HANDED_OVER).read_bytes()
    assert main(["train", members[0].path, "--device", "cpu"]) == 0
    assert {file.name for file in Path(members[0].path).iterdir()} == FILES
    assert Path(members[0].path, "provenance.json").read_bytes() == before
    assert main(["fleet", "tiny", "nonsense"]) == 2
    assert f"its fleets: {name}" in capsys.readouterr().err


def test_cells_of_any_shape_train_one_after_another(write_study: Write, capsys):
    write_study("tiny", STUDY.format(fleet=1))
    cells = [cell for cell in studies.load("tiny").cells() if cell.seed == 0]
    assert len({cell.prior for cell in cells}) > 1
    command = ["train", *(cell.path for cell in cells), "--device", "cpu", "--threads", "1"]
    assert main([*command, "--fleet", "2"]) == 2
    assert "must agree in" in capsys.readouterr().err
    assert main(command) == 0
    assert all(Path(cell.path, "provenance.json").exists() for cell in cells)


def test_several_cells_of_one_command_train_side_by_side(write_study: Write, capsys):
    write_study("tiny", STUDY.format(fleet=1))
    paths = [cell.path for cell in studies.load("tiny").cells()][:2]
    assert main(["train", *paths, "--device", "cpu", "--threads", "1", "--fleet", "2"]) == 0
    assert [read_json(Path(path, "provenance.json"))["fleet"] for path in paths] == [2, 2]
    assert read_json(Path(paths[1], "cell.json"))["command"] == f"sintro train {paths[1]} --device cpu --threads 1"
    assert main(["evaluate", *paths, "--device", "cpu", "--threads", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [f"{path}: done" for path in paths]
    assert all(read_json(Path(path, "metrics.json"))["status"] == "done" for path in paths)
    assert main(["train", paths[0], "--device", "cpu", "--graph"]) == 2
    assert "CUDA graphs need a GPU" in capsys.readouterr().err


# --- how many fit


def test_on_a_processor_cells_train_one_after_another():
    assert devices.fleet_size(small(MOG), "cpu") == 1


def test_the_size_of_a_fleet_follows_the_free_memory():
    published = presets.published(Cell.from_path("results/table1/rings/soft-introvae/mog64-learned/clip/seed0"))
    one = devices.bytes_per_cell(published)
    players = Players([small(MOG)])
    own = sum(p.numel() for part in players.parameters().values() for p in part.values())
    assert own * 16 < devices.bytes_per_cell(small(MOG)) < one
    assert devices.fleet_size(published, "cuda", free=8 << 30, graph=True) < devices.fleet_size(
        published, "cuda", free=8 << 30
    )
    sizes = [devices.fleet_size(published, "cuda", free=gigabytes << 30) for gigabytes in (1, 8, 24, 80, 1000)]
    assert sizes[0] == 1
    assert sizes[-1] == fleets.LARGEST
    assert all(first <= second for first, second in itertools.pairwise(sizes))
    for gigabytes, size in zip((8, 24, 80), sizes[1:], strict=False):
        assert size * one + devices.FIXED <= gigabytes << 30


# --- graphs


def test_a_tape_repeats_what_generators_draw():
    def draws(source):
        return [normal((3, 2), source), uniform((4,), source, torch.float64), normal((2,), source)]

    def keyed(iteration):
        return [generator(seed, "noise", iteration) for seed in (0, 1)]

    tape = Tape()
    for noted, plain in zip(draws(tape.note(keyed(0))), draws(keyed(0)), strict=True):
        assert torch.equal(noted, plain)
    places = []
    for iteration in (1, 2, 3):
        replayed = draws(tape.fill(keyed(iteration)))
        assert all(torch.equal(one, other) for one, other in zip(replayed, draws(keyed(iteration)), strict=True))
        places.append([drawn.data_ptr() for drawn in replayed])
    assert places[0] == places[1] == places[2]
    tape.fill(keyed(4))
    with pytest.raises(RuntimeError, match="draw 0 differs from the noted one"):
        normal((5,), tape)


@pytest.mark.parametrize("path", [MOG, NORMAL])
def test_an_iteration_with_taped_noise_is_the_iteration(path):
    """What a graph captures: the same step, its draws made beforehand."""
    plain, taped = Players([small(path)]), Players([small(path)])
    tapes = {}
    for iteration in range(26):
        taped.enter(iteration)
        taped._set_learning_rates(iteration)
        objective = taped.warmup if iteration < 20 else taped.objective
        noise, kind = taped.generators("noise", iteration), (objective, type(taped.model.prior))
        source = tapes[kind].fill(noise) if kind in tapes else tapes.setdefault(kind, Tape()).note(noise)
        terms = objective.step(taped, taped.data.at(iteration), source, False)
        for name, term in plain.step(iteration).items():
            assert torch.equal(terms[name], term), f"{name} {iteration}"
        assert source.position in (0, len(source.requests))


class NoLook(TorchDispatchMode):
    """Refuses every operation whose result, or its shape, the processor has to wait for: no graph can hold one."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert str(func.overloadpacket) not in {"aten._local_scalar_dense", "aten.nonzero", "aten.equal"}, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("paths", [[MOG], [NORMAL], CELLS])
def test_no_iteration_waits_for_the_device(paths, monkeypatch):
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoLook():
        float(torch.ones(1))
    monkeypatch.setattr(mixture, "_fused", lambda: None)  # as on a GPU
    monkeypatch.setattr(expanded, "_may_look", lambda tensor: False)
    players = Players([small(path) for path in paths])
    for iteration in range(30):  # warm-up, conversion and both players' steps
        players.enter(iteration)
        objective = players.warmup if iteration < players.shared.warmup else players.objective
        real, noise = players.data.at(iteration), players.generators("noise", iteration)
        with NoLook():
            terms = objective.step(players, real, noise, iteration % 2 == 0)
    assert all(torch.isfinite(term).all() for term in terms.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU, and this machine has none")
@pytest.mark.parametrize("adam", [None, "restarted"])
@pytest.mark.parametrize("paths", [[MOG], [NORMAL], CELLS])
def test_graphs_against_eager_iterations(paths, adam):
    settings = [small(path, adam_at_introspection=adam) for path in paths]
    eager, graphed = (Players(settings, "cuda", graph=graph) for graph in (False, True))
    for iteration in range(40):
        mean_responsibilities = (iteration + 1) % 5 == 0
        expected, found = eager.step(iteration, mean_responsibilities), graphed.step(iteration, mean_responsibilities)
        for name, term in expected.items():
            torch.testing.assert_close(found[name], term, rtol=1e-3, atol=1e-3, msg=f"{name} {iteration}")
    assert any(kind.graph is not None for kind in graphed.graphs.kinds.values())
    assert all((kind.graph is not None) == (kind.seen > EAGER) for kind in graphed.graphs.kinds.values())


def test_the_history_of_a_fleet_has_every_column(here):
    run(CELLS[:2])
    assert Path(CELLS[0], "history.csv").read_text().splitlines()[0].split(",") == list(history.COLUMNS)
    last = dict(zip(history.COLUMNS, rows(CELLS[0])[-1], strict=True))
    assert last["active_modes"] >= 1
    assert last["prior_log_var_min"] <= last["prior_log_var_max"]
