"""The training loop: the prior's life, resuming to the same bits, fleets, divergence, bad checkpoints and disks."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trained import train_alone

from sintro import SintroError, objectives
from sintro.basics.files import load_tensors, read_json, write_json
from sintro.basics.optimisers import Adam
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.priors import MixturePrior, VampPrior
from sintro.runs import failures, history, stored
from sintro.runs.devices import pick_device
from sintro.training import tasks as training
from sintro.training.players import Players
from sintro.training.record import Record

MOG = "results/tiny/rings/soft-introvae/mog4-learned-lc/clip/seed0"
NORMAL = "results/tiny/8gaussians/soft-introvae/normal/none/seed0"
VAE = "results/tiny/rings/vae/vamp4-lc/none/seed0"
INTROVAE = "results/tiny/rings/introvae/normal/none/seed0"
SMALL = {"batch_size": 32, "samples": 4, "iterations": 40, "warmup": 20, "conversion": 15, "milestones": (25, 30)}


def small(path, **changes):
    """The cell's published settings, small and short: warm-up 0-19, conversion before 15, milestones 25 and 30."""
    settings = published(Cell.from_path(path))
    given = SMALL | changes
    if settings.conversion is None:
        given = given | {"conversion": None}
    if settings.objective == "vae":
        given = given | {"warmup": given["iterations"]}
    return settings.model_copy(update=given)


def run(path, **changes):
    options = {name: changes.pop(name) for name in ("checkpoint_every", "restart") if name in changes}
    return train_alone(Cell.from_path(path), small(path, **changes), **options)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the prior's life


def kinds(path, until=40, **changes):
    players = Players([small(path, **changes)])
    seen = []
    for iteration in range(until):
        players.step(iteration)
        seen.append(type(players.model.prior).__name__)
    return players, seen


def test_vamp_prior_becomes_a_mixture_when_the_settings_say():
    _, seen = kinds(MOG)
    assert seen == ["VampPrior"] * 15 + ["MixturePrior"] * 25


def test_conversion_takes_the_posteriors_at_the_pseudo_inputs_and_restarts_the_optimisers():
    players, _ = kinds(MOG, until=15)
    vamp = players.model.prior
    with torch.no_grad():
        expected = vamp.as_density(players.model.encode)
    steps = [state["step"].item() for state in players.optimisers["encoder"].state.values()]
    assert set(steps) == {15}
    players.enter(15)
    prior = players.model.prior
    torch.testing.assert_close(prior.means.detach(), expected.means)
    torch.testing.assert_close(prior.raw_log_vars.detach(), expected.log_vars)
    assert all(not optimiser.state for optimiser in players.optimisers.values())


@pytest.mark.parametrize(("quirk", "of_weights"), [("weights", lambda w: w), ("log-weights", torch.log)])
def test_logits_at_conversion(quirk, of_weights):
    players, _ = kinds(MOG, until=15, logits_at_conversion=quirk)
    players.model.prior.logits.data = torch.tensor([2.0, 0.0, -1.0, 1.0])
    weights = torch.softmax(players.model.prior.logits.detach(), -1)
    players.enter(15)
    torch.testing.assert_close(players.model.prior.logits.detach(), of_weights(weights))
    kept = torch.allclose(players.model.prior.weights.detach(), weights, atol=1e-5)
    assert kept == (quirk == "log-weights")  # the published quirk flattens the weights


def test_a_fixed_prior_trains_through_the_warm_up_and_stands_still_afterwards():
    players = Players([small(MOG.replace("learned-lc/clip", "fixed-lc/none"))])
    means = []
    for iteration in range(30):
        players.step(iteration)
        prior = players.model.prior
        means.append((prior.means if isinstance(prior, MixturePrior) else prior.pseudo_inputs).detach().clone())
    assert not torch.equal(means[13], means[14])
    assert not torch.equal(means[18], means[19])  # after the conversion, still warming up
    assert torch.equal(means[19], means[29])
    assert "prior" not in players.optimisers


@pytest.mark.parametrize("cooperation", ["decoder", "encoder"])
def test_a_learned_prior_goes_on_moving_and_keeps_within_its_bounds(cooperation):
    players, _ = kinds(MOG, until=20, cooperation=cooperation, iterations=60)
    low, high = players.model.prior.raw_log_vars.amin(-2), players.model.prior.raw_log_vars.amax(-2)
    before = [p.detach().clone() for p in players.model.prior.parameters()]
    for iteration in range(20, 40):
        players.step(iteration)
    prior = players.model.prior
    torch.testing.assert_close(prior.bounds[0], low.detach())
    torch.testing.assert_close(prior.bounds[1], high.detach())
    assert all(not torch.equal(p, q) for p, q in zip(prior.parameters(), before, strict=True))
    prior.raw_log_vars.data += 50
    assert (prior.log_vars <= prior.bounds[1] + 1e-4).all()


def test_without_contributions_the_weights_stay_equal():
    players, _ = kinds(MOG.replace("-lc", ""))
    torch.testing.assert_close(players.model.prior.weights, torch.full((4,), 0.25))


def test_a_vae_keeps_its_vamp_prior_and_trains_its_pseudo_inputs():
    players = Players([small(VAE)])
    start = players.model.prior.pseudo_inputs.detach().clone()
    for iteration in range(40):
        players.step(iteration)
    assert isinstance(players.model.prior, VampPrior)
    assert not torch.equal(players.model.prior.pseudo_inputs, start)
    assert players.model.prior.logits.detach().abs().sum() > 0


def test_adam_is_torchs_to_the_bit():
    source = torch.Generator().manual_seed(1)
    gradients = torch.randn(5, 4, generator=source)
    options = {"lr": 0.01, "betas": (0.9, 0.95), "fused": True}
    found = []
    for kind in (Adam, torch.optim.Adam):
        parameter = torch.ones(4, requires_grad=True)
        optimiser = kind([parameter], **options)
        for gradient in gradients:
            optimiser.zero_grad()
            parameter.grad = gradient.clone()
            optimiser.step()
            optimiser.load_state_dict(optimiser.state_dict())
        found.append((parameter.detach(), *optimiser.state[parameter].values()))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_training_never_imports_torchs_compiler():
    """It takes 78 MiB and some seconds of every process."""
    cells = [MOG, NORMAL, INTROVAE, MOG.replace("rings", "digits"), VAE.replace("rings", "digits")]
    script = f"""
import sys
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.training.players import Players
from sintro.training.record import Record
for path in {cells}:
    short = {{"batch_size": 25, "samples": 3, "iterations": 3, "warmup": 1, "milestones": ()}}
    settings = published(Cell.from_path(path))
    if settings.conversion is not None:
        short["conversion"] = 1
    if settings.network == "residual":
        short["channels"] = (4, 8)
    players = Players([settings.model_copy(update=short)])
    for iteration in range(3):
        players.step(iteration, mean_responsibilities=True)
    assert not {{"torch._dynamo", "sympy"}} & set(sys.modules), path
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_learning_rate_falls_at_the_milestones_wherever_optimisers_restarted():
    players = Players([small(MOG)])
    assert [players.learning_rate(i) for i in (0, 24)] == [2e-4, 2e-4]
    assert players.learning_rate(25) == pytest.approx(2e-5)
    assert players.learning_rate(39) == pytest.approx(2e-6)


@pytest.mark.parametrize("path", [MOG, MOG.replace("learned-lc/clip", "fixed-lc/none"), NORMAL, INTROVAE])
@pytest.mark.parametrize("adam", [None, "restarted"])
def test_adam_is_carried_into_the_introspective_phase_or_restarted_for_every_player(path, adam):
    players, _ = kinds(path, until=20, adam_at_introspection=adam)
    players.enter(20)
    begun = {player: bool(optimiser.state) for player, optimiser in players.optimisers.items()}
    assert set(begun.values()) == {adam is None}
    learned = {"prior"} if "learned" in path else set()
    assert set(begun) == {"encoder", "decoder"} | learned
    players.step(20)
    steps = {int(state["step"]) for optimiser in players.optimisers.values() for state in optimiser.state.values()}
    since = 15 if path.startswith(MOG[:35]) else 0  # the conversion restarts it too
    assert steps == {1 if adam else 21 - since}


def test_a_restart_makes_captured_graphs_void():
    players, _ = kinds(NORMAL, until=20, adam_at_introspection="restarted")
    cleared = []
    players.graphs = SimpleNamespace(clear=lambda: cleared.append(True))
    players.enter(20)
    assert cleared == [True]


@pytest.mark.parametrize("fakes", [None, "reused"])
def test_the_decoders_step_has_the_encoders_fakes_where_the_settings_say(fakes, monkeypatch):
    players, _ = kinds(NORMAL, until=20, fakes=fakes)
    steps, given = [], []
    encoder_loss, decoder_loss = objectives.encoder_loss, objectives.decoder_loss

    def encoder_step(*arguments, **options):
        steps.append(encoder_loss(*arguments, **options))
        return steps[-1]

    def decoder_step(*arguments, **options):
        given.append(options["z_fake"])
        return decoder_loss(*arguments, **options)

    monkeypatch.setattr("sintro.objectives.soft_introvae.encoder_loss", encoder_step)
    monkeypatch.setattr("sintro.objectives.soft_introvae.decoder_loss", decoder_step)
    players.step(20)
    assert given[0] is (steps[0].z_fake if fakes else None)


def test_a_run_without_a_warm_up_is_introspective_from_its_first_iteration(here):
    assert run(NORMAL, warmup=0, snapshots=(0, 30)) == 0
    rows = Path(NORMAL, "history.csv").read_text().splitlines()
    phase = rows[0].split(",").index("phase")
    assert {float(row.split(",")[phase]) for row in rows[1:]} == {1.0}
    assert {path.name for path in Path(NORMAL).glob("snapshot-*")} == {"snapshot-0.pt", "snapshot-30.pt"}


def test_the_elbo_of_a_vae_rises():
    players = Players([small(VAE, iterations=200, batch_size=128, learning_rate=2e-3, milestones=())])
    losses = [float(players.step(iteration)["loss_encoder"]) for iteration in range(200)]
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])


# --- fleets


OF_NORMAL = {"kl_of_normal": "sampled", "fakes": "reused", "adam_at_introspection": "restarted"}


@pytest.mark.parametrize(("path", "changes"), [(MOG, {}), (NORMAL, OF_NORMAL)])
def test_each_cell_of_a_fleet_does_what_it_does_alone(path, changes):
    name = Cell.from_path(path).dataset
    paths = [path, path.replace("seed0", "seed1"), path.replace(name, "spirals")]
    settings = [small(path, **changes) for path in paths]
    more = {"responsibility_weight": 2.0} if path == MOG else {}
    settings[1] = settings[1].model_copy(update={"beta_rec": 0.7} | more)
    fleet = Players(settings)
    alone = [Players([one]) for one in settings]
    for iteration in range(26):  # warm-up, conversion, third player, first milestone
        together = fleet.step(iteration, mean_responsibilities=True)
        for index, players in enumerate(alone):
            for name, term in players.step(iteration, mean_responsibilities=True).items():
                torch.testing.assert_close(together[name][index], term, rtol=2e-4, atol=2e-4, msg=f"{name} {iteration}")
    for index, players in enumerate(alone):
        for player, parameters in players.state()["parameters"].items():
            for name, value in parameters.items():
                torch.testing.assert_close(
                    fleet.state(index)["parameters"][player][name], value, rtol=1e-2, atol=2e-4, msg=name
                )


def test_a_fleet_goes_on_when_one_of_its_cells_diverges():
    settings = [small(NORMAL), small(NORMAL.replace("seed0", "seed1"))]
    fleet, alone = Players(settings), Players(settings[1:])
    with torch.no_grad():
        fleet.model.encoder.weights[0][0] = float("nan")
    for iteration in range(22):
        together, own = fleet.step(iteration), alone.step(iteration)
    assert torch.isnan(together["loss_encoder"][0])
    torch.testing.assert_close(together["loss_encoder"][1], own["loss_encoder"], rtol=1e-4, atol=1e-4)


def test_the_cells_of_a_fleet_must_have_equal_shape():
    with pytest.raises(SintroError, match="agree in components"):
        Players([small(MOG), small(MOG.replace("mog4", "mog8"))])


# --- resuming


def final_files(folder):
    return {name: (Path(folder) / name).read_bytes() for name in ("model.pt", "history.csv")}


RESTARTED = {"adam_at_introspection": "restarted"}
STOPS = [
    *((MOG, after, {}) for after in (5, 14, 15, 16, 19, 20, 21, 33)),
    (NORMAL, 19, {}),
    (NORMAL, 30, {}),
    (VAE, 20, {}),
    (INTROVAE, 30, {}),
    *((path, after, RESTARTED) for path in (MOG, NORMAL) for after in (19, 20, 21)),
    (NORMAL, 7, {"warmup": 0, "fakes": "reused", "kl_of_normal": None}),
]


@pytest.mark.parametrize(("path", "stop_after", "changes"), STOPS)
def test_a_run_stopped_by_a_signal_resumes_to_the_same_bits(here, monkeypatch, path, stop_after, changes):
    assert run(path, **changes) == 0
    expected = final_files(path)
    runs_before = Path(path, "provenance.json").read_text()
    step = Players.step

    def step_and_signal(self, iteration, mean_responsibilities=False):
        if iteration + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, iteration, mean_responsibilities)

    monkeypatch.setattr(Players, "step", step_and_signal)
    assert run(path, restart=True, **changes) == training.INTERRUPTED
    assert Path(path, "checkpoint.pt").exists()
    assert not Path(path, "provenance.json").exists()
    assert failures.read(Path(path)).was_stopped
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run(path, **changes) == 0
    assert final_files(path) == expected
    assert not Path(path, "checkpoint.pt").exists()
    assert '"resumed": 0' in runs_before
    assert read_json(Path(path, "provenance.json"))["resumed"] == 1


STUDY = """
title: tiny
comparable: false
length: 1/300
seeds: [0]
overrides: {batch_size: 32, samples: 4, evaluation_grid: 16, evaluation_points: 200}
cells: [{datasets: [rings], objectives: [soft-introvae], priors: [mog4-learned], regularizers: [clip]}]
"""
KILLED = "results/tiny/rings/soft-introvae/mog4-learned/clip/seed0"


def start_training(folder, *options):
    environment = os.environ | {"SINTRO_STUDIES": str(folder / "studies"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sintro", "train", KILLED, "--device", "cpu", "--threads", "1", *options]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_minus_nine_at_any_moment_loses_nothing(tmp_path):
    """Killed in the warm-up, around the conversion and after, the run ends as one that nobody killed."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "tiny.yaml").write_text(STUDY)
    whole = start_training(tmp_path)
    _, said = whole.communicate(timeout=120)
    assert whole.returncode == 0, said
    expected = final_files(tmp_path / KILLED)
    (tmp_path / KILLED / "provenance.json").unlink()
    checkpoint = tmp_path / KILLED / "checkpoint.pt"
    at, points = 0, []
    for target in (2, 5, 6, 7, 40):  # of 100 iterations: the warm-up ends at 7, the conversion comes one before
        process = start_training(tmp_path, "--checkpoint-every", "0")
        while process.poll() is None and at < target:
            time.sleep(0.002)
            if checkpoint.exists():
                at = torch.load(checkpoint, weights_only=True)["iteration"]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        points.append(at)
    assert points[-1] < 100, f"the run was over before it could be killed: {points}"
    last = start_training(tmp_path)
    _, said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert "resuming" in said
    assert final_files(tmp_path / KILLED) == expected
    assert read_json(tmp_path / KILLED / "provenance.json")["resumed"] >= 1


# --- what a run leaves behind


def test_a_finished_run_leaves_what_the_design_says(here):
    assert run(MOG) == 0
    folder = Path(MOG)
    assert {p.name for p in folder.iterdir()} == {"cell.json", "history.csv", "model.pt", "provenance.json"}
    cell = read_json(folder / "cell.json")
    assert cell["settings"]["batch_size"] == 32
    assert cell["digest"] == small(MOG).digest
    lines = (folder / "history.csv").read_text().splitlines()
    assert tuple(lines[0].split(",")) == history.COLUMNS
    assert len(lines) == 41
    provenance = read_json(folder / "provenance.json")
    assert provenance["status"] == "done"
    assert provenance["threads"] == 1
    assert provenance["wall_seconds"] > 0
    assert provenance["peak_memory_bytes"] > 1e7


def test_a_finished_run_is_not_trained_again_unless_asked(here, capsys):
    run(NORMAL)
    before = Path(NORMAL, "model.pt").stat().st_mtime_ns
    assert run(NORMAL) == 0
    assert "done already" in capsys.readouterr().err
    assert Path(NORMAL, "model.pt").stat().st_mtime_ns == before
    assert run(NORMAL, restart=True) == 0
    assert Path(NORMAL, "model.pt").stat().st_mtime_ns > before
    before = Path(NORMAL, "model.pt").stat().st_mtime_ns
    assert run(NORMAL, beta_kl=0.123) == 0  # other hyper-parameters: trained anew without asking
    assert Path(NORMAL, "model.pt").stat().st_mtime_ns > before


def test_divergence_is_a_result(here, monkeypatch):
    step = Players.step

    def diverging(self, iteration, mean_responsibilities=False):
        if iteration == 23:
            self.model.encoder.biases[0].data[0] = float("inf")
        return step(self, iteration, mean_responsibilities)

    monkeypatch.setattr(Players, "step", diverging)
    assert run(NORMAL) == 0
    provenance = read_json(Path(NORMAL, "provenance.json"))
    assert (provenance["status"], provenance["diverged_at"]) == ("diverged", 23)
    assert "iteration 23" in provenance["reason"]
    assert not Path(NORMAL, "model.pt").exists()
    assert len(Path(NORMAL, "history.csv").read_text().splitlines()) == 25


# --- bad checkpoints, folders, disks, devices


@pytest.fixture
def stop_at(here, monkeypatch):
    """Let a signal stop the trainings that follow in an iteration; None: let them end."""
    step, iterations = Players.step, []

    def stopping(self, iteration, mean_responsibilities=False):
        if iteration == iterations[-1]:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, iteration, mean_responsibilities)

    monkeypatch.setattr(Players, "step", stopping)
    return iterations.append


def done_by_checkpoint():
    return {path.name: load_tensors(path, "")["iteration"] for path in Path(MOG).glob("checkpoint*")}


def test_a_truncated_checkpoint_is_refused_and_kept(stop_at):
    stop_at(10)
    run(MOG)
    stop_at(None)
    checkpoint = Path(MOG, "checkpoint.pt")
    whole = checkpoint.read_bytes()
    for share in (0, 0.3, 0.99):
        checkpoint.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SintroError, match=r"checkpoint\.pt cannot be read.*--restart"):
            run(MOG)
        assert checkpoint.stat().st_size == int(len(whole) * share)
    torch.save({"something": 1}, checkpoint)
    with pytest.raises(SintroError, match="is not a checkpoint"):
        run(MOG)
    assert run(MOG, restart=True) == 0


def test_a_checkpoint_of_other_settings_is_put_aside_aloud(stop_at, capsys):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    stop_at(None)
    assert run(MOG, beta_kl=0.77) == 0
    assert "belongs to other hyper-parameters" in capsys.readouterr().err
    assert Path(MOG, "checkpoint.other-settings.pt").exists()


def test_a_trials_checkpoint_and_the_full_runs_change_places(stop_at, capsys):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    assert run(MOG, beta_kl=0.77) == training.INTERRUPTED
    capsys.readouterr()
    stop_at(20)
    assert run(MOG) == training.INTERRUPTED
    assert "going on from the one that lay there" in capsys.readouterr().err
    assert done_by_checkpoint() == {"checkpoint.pt": 21, "checkpoint.other-settings.pt": 11}


def test_a_trial_that_ends_leaves_the_full_runs_checkpoint_to_be_taken_up(stop_at, capsys):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    stop_at(None)
    assert run(MOG, beta_kl=0.77) == 0  # ends, and removes its own checkpoint
    stop_at(20)
    assert run(MOG) == training.INTERRUPTED
    assert "resuming results/tiny/rings/soft-introvae/mog4-learned-lc/clip/seed0 after 11" in capsys.readouterr().err
    assert done_by_checkpoint() == {"checkpoint.pt": 21}


def test_a_damaged_checkpoint_that_was_put_aside_stops_no_training(stop_at):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    aside = Path(MOG, "checkpoint.other-settings.pt")
    aside.write_bytes(b"cut")
    stop_at(20)
    assert run(MOG) == training.INTERRUPTED
    assert load_tensors(Path(MOG, "checkpoint.pt"), "")["iteration"] == 21
    assert run(MOG, beta_kl=0.77) == training.INTERRUPTED  # and the whole one takes its place
    assert done_by_checkpoint() == {"checkpoint.pt": 21, "checkpoint.other-settings.pt": 21}


def test_a_disk_that_does_not_give_the_checkpoint_put_aside_stops_the_training(stop_at):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    Path(MOG, "checkpoint.pt").rename(Path(MOG, "kept.pt"))
    Path(MOG, "checkpoint.other-settings.pt").mkdir()  # as good as any error of the system
    with pytest.raises(SintroError, match=r"cannot read .*other-settings\.pt: Is a directory"):
        run(MOG)


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_while_two_checkpoints_change_places_loses_none(stop_at, monkeypatch, renames):
    stop_at(10)
    assert run(MOG) == training.INTERRUPTED
    stop_at(15)
    assert run(MOG, beta_kl=0.77) == training.INTERRUPTED
    replace, left = os.replace, [renames]

    def killed(source, target):
        if Path(source).name.startswith("checkpoint"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(MOG)
    assert Path(MOG, "checkpoint.between.pt").exists()
    monkeypatch.setattr(os, "replace", replace)
    stop_at(20)
    assert run(MOG) == training.INTERRUPTED
    assert done_by_checkpoint() == {"checkpoint.pt": 21, "checkpoint.other-settings.pt": 16}


def test_a_checkpoint_that_would_run_code_is_refused(here):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, ("owned",))

    Path(MOG).mkdir(parents=True)
    torch.save({"state": Payload()}, Path(MOG, "checkpoint.pt"))
    with pytest.raises(SintroError, match="cannot be read"):
        run(MOG)
    assert not Path("owned").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(here):
    Path("results").write_text("not a folder")
    with pytest.raises(SintroError, match=r"cannot write results/.*progress\.json"):
        run(NORMAL)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_line(here):
    Path("results").mkdir(mode=0o500)
    with pytest.raises(SintroError, match="Permission denied"):
        run(NORMAL)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"kl": 1.0})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SintroError, match=r"cannot write .*metrics\.json: No space left on device"):
        write_json(path, {"kl": 2.0})
    assert read_json(path) == {"kl": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_json_holds_numbers_that_are_not_finite_as_words(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("-inf"), 1.5]})
    assert read_json(tmp_path / "a.json") == {"x": "nan", "y": ["-inf", 1.5]}
    (tmp_path / "a.json").write_text('{"x": ')
    with pytest.raises(SintroError, match="not whole JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "tpu"])
def test_unknown_devices_are_named(device):
    with pytest.raises(SintroError, match="unknown device"):
        pick_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(SintroError, match="sees no GPU"):
        pick_device("cuda")


def test_a_folder_that_is_deleted_during_the_training_is_whole_at_its_end(here, monkeypatch):
    path, finish = "results/quick/rings/vae/normal/none/seed0", Record.finish

    def finish_in_a_deleted_folder(record, *given):
        shutil.rmtree(record.folder)
        finish(record, *given)

    monkeypatch.setattr(Record, "finish", finish_in_a_deleted_folder)
    run(path)
    assert {"cell.json", "history.csv", "model.pt", "provenance.json"} <= set(os.listdir(path))
    assert stored.read_settings(path) == small(path)
