"""The bootstrap variant: a target decoder that lags by an epoch and reconstructs the fakes in both steps."""

import copy
import os
import signal
from pathlib import Path

import pytest
import torch
from trained import train_alone

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.cell import Cell
from sintro.cells.components import Betas
from sintro.cells.presets import published, resolve
from sintro.objectives import decoder_loss, encoder_loss
from sintro.objectives.model import Model
from sintro.objectives.networks import MLP
from sintro.priors import StandardNormal
from sintro.training import tasks as training
from sintro.training.players import Players

PATH = "results/x/digits/soft-introvae-bootstrap/normal/none/seed0"
BETAS = Betas(0.2, 0.3, 0.9)


def small(iterations=9, batch_size=500):  # three batches an epoch
    settings = resolve(Cell.from_path(PATH), iterations=iterations, values={"batch_size": batch_size})
    return settings.model_copy(update={"channels": (4, 8), "snapshots": ()})


def made_model(target: bool, stackable: bool = True) -> Model:
    source = generator(0, "bootstrap")
    networks = [MLP([2, 16, size], source) for size in (4, 2)]
    lagging = MLP([2, 16, 2], source).requires_grad_(False) if target else None
    return Model(*networks, StandardNormal(2), stackable=stackable, target_decoder=lagging)


def real_batch():
    return torch.randn(32, 2, generator=torch.Generator().manual_seed(1))


def test_a_density_has_no_epochs_to_lag_behind():
    with pytest.raises(SintroError, match="a density has no epochs; legal are digits"):
        Cell.from_path(PATH.replace("digits", "rings"))


def test_it_differs_from_the_published_objective_in_gamma_r_and_in_its_revision():
    ours, usual = (published(Cell.from_path(path)).model_dump() for path in (PATH, PATH.replace("-bootstrap", "")))
    assert {name for name in ours if ours[name] != usual[name]} == {"objective", "gamma_r", "revision"}
    assert ours["gamma_r"] == 1.0


def test_the_target_is_the_decoder_of_the_epochs_first_iteration():
    players = Players([small()])
    for iteration in range(7):
        before = copy.deepcopy(players.model.decoder.state_dict())
        players.step(iteration)
        if iteration % 3 == 0:
            first = before
        lagging = players.model.target_decoder.state_dict()
        for name in dict(players.model.decoder.named_parameters()):
            assert torch.equal(lagging[name], first[name])
            assert not torch.equal(lagging[name], players.model.decoder.state_dict()[name])
    assert not any(p.requires_grad for p in players.model.target_decoder.parameters())


def test_a_target_equal_to_the_decoder_changes_no_loss():
    losses = []
    for target in (False, True):
        model = made_model(False)
        if target:
            model.target_decoder = copy.deepcopy(model.decoder).requires_grad_(False)
        noise = generator(0, "noise")
        losses += [
            [
                step(model, real_batch(), BETAS, noise, **more).loss.item()
                for step, more in ((encoder_loss, {}), (decoder_loss, {"gamma_r": 1.0}))
            ]
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("stackable", [True, False])
def test_the_decoder_learns_on_both_sides_of_the_lagging_ones_reconstructions(stackable):
    """By hand: the gradient of gamma_r's term is that of |x_f - target(z_ff)|^2 with z_ff ~ q(z|x_f), none detached."""
    gradients = []
    for gamma_r in (0.0, 1.0):
        model = made_model(True, stackable)
        loss = decoder_loss(model, real_batch(), BETAS, generator(0, "n"), scale=0.5, gamma_r=gamma_r).loss
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.decoder.parameters()))]))
    model, noise = made_model(True), generator(0, "n")
    with torch.no_grad():
        z = model.encode(real_batch()).sample(noise)
    fakes = model.decode_each((z, model.prior.sample(32, noise)[0]))
    again = [model.target_decoder(posterior.sample(noise)) for posterior in model.encode_each(fakes)]
    by_hand = sum((fake - made).square().sum(-1).mean() for fake, made in zip(fakes, again, strict=True))
    by_hand = torch.autograd.grad(0.5 * 0.2 * 0.5 * by_hand, list(model.decoder.parameters()))
    torch.testing.assert_close(gradients[1] - gradients[0], torch.cat([g.flatten() for g in by_hand]))


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [4, 6])  # within an epoch, and where one ends
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, monkeypatch, stop_after):
    monkeypatch.chdir(tmp_path)
    cell, settings = Cell.from_path(PATH), small()
    assert train_alone(cell, settings) == 0
    expected = [Path(PATH, name).read_bytes() for name in ("model.pt", "history.csv")]
    step = Players.step

    def step_and_signal(self, iteration, mean_responsibilities=False):
        if iteration + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, iteration, mean_responsibilities)

    with monkeypatch.context() as patched:
        patched.setattr(Players, "step", step_and_signal)
        assert train_alone(cell, settings, restart=True) == training.INTERRUPTED
    assert train_alone(cell, settings) == 0
    assert [Path(PATH, name).read_bytes() for name in ("model.pt", "history.csv")] == expected
