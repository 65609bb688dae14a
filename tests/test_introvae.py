"""IntroVAE: its losses written out again by hand, the hinge on and off, the shared term, one step of the players."""

import pytest
import torch

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.cell import Cell
from sintro.cells.components import Betas
from sintro.cells.presets import published
from sintro.objectives import introvae
from sintro.objectives.model import Model
from sintro.objectives.networks import MLP
from sintro.priors import StandardNormal
from sintro.training.players import Players

WEIGHTS = Betas(0.7, 0.3, 2.0)
PATH = "results/tiny/rings/introvae-rec0.7-kl0.3-neg2-margin5/normal/none/seed0"


def made_model():
    source = generator(0, "test")
    return Model(MLP([2, 16, 16, 4], source), MLP([2, 16, 16, 2], source), StandardNormal(2))


def real_batch(n=32):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(9))


def by_hand(model, real, margin):
    """(rec, KL(x), KL(x_r), KL(x_f)) as batch means, with the same draws; nothing detached but the encoder's inputs."""
    noise = generator(4, "noise")

    def mean_kl(x):
        mean, log_var = model.encoder(x).chunk(2, -1)
        return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1).mean()

    mean, log_var = model.encoder(real).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(len(real), 2, generator=noise)
    reconstructed, fake = model.decoder(z), model.decoder(torch.randn(len(real), 2, generator=noise))
    rec = ((real - reconstructed) ** 2).sum(-1).mean()
    return rec, mean_kl(real), mean_kl(reconstructed.detach()), mean_kl(fake.detach()), (reconstructed, fake, mean_kl)


def gradients(parameters):
    return [p.grad.clone() for p in parameters]


@pytest.mark.parametrize("margin", [1e-6, 0.05, 5.0, 100.0])
def test_the_encoders_loss_by_hand(margin):
    model, real = made_model(), real_batch()
    step = introvae.encoder_loss(model, real, WEIGHTS, margin, generator(4, "noise"))
    rec, kl, kl_r, kl_f, _ = by_hand(model, real, margin)
    hinges = [max(0.0, margin - float(value.detach())) for value in (kl_r, kl_f)]
    assert float(step.loss.detach()) == pytest.approx(
        0.7 * float(rec.detach()) + 0.3 * (float(kl.detach()) + 0.5 * 2 * sum(hinges)), rel=1e-5
    )
    assert float(step.terms["hinge_reconstructed"]) == pytest.approx(hinges[0], rel=1e-4, abs=1e-6)
    assert float(step.terms["hinge_fake"]) == pytest.approx(hinges[1], rel=1e-4, abs=1e-6)


def test_beyond_the_margin_the_fakes_give_no_gradient():
    found = []
    for margin, weights in ((1e-6, WEIGHTS), (1e-6, Betas(0.7, 0.3, 50.0)), (5.0, WEIGHTS)):
        model = made_model()
        introvae.encoder_loss(model, real_batch(), weights, margin, generator(4, "noise")).loss.backward()
        found.append(torch.cat([g.flatten() for g in gradients(model.encoder.parameters())]))
    torch.testing.assert_close(found[0], found[1])  # whatever w_neg is
    assert (found[0] - found[2]).norm() > 1e-3 * found[0].norm()  # below the margin there is one


def test_the_decoder_takes_the_shared_term_from_the_encoders_backward_pass():
    """Its whole gradient is that of w_rec rec + 1/2 w_kl (KL(x_r) + KL(x_f)), written out by hand."""
    model, real = made_model(), real_batch()
    step = introvae.encoder_loss(model, real, WEIGHTS, 5.0, generator(4, "noise"))
    step.loss.backward(retain_graph=True)
    encoder = gradients(model.encoder.parameters())
    loss, terms = introvae.decoder_loss(model, step, WEIGHTS)
    loss.backward(inputs=list(model.decoder.parameters()))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.encoder.parameters(), encoder, strict=True))
    found = gradients(model.decoder.parameters())
    model.decoder.zero_grad()
    rec, *_, (reconstructed, fake, mean_kl) = by_hand(model, real, 5.0)
    expected = 0.7 * rec + 0.5 * 0.3 * (mean_kl(reconstructed) + mean_kl(fake))
    assert float(terms["loss_decoder"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    for mine, other in zip(found, torch.autograd.grad(expected, list(model.decoder.parameters())), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("margin", [1e-6, 5.0])
def test_networks_whose_batches_do_not_share_a_pass_get_the_same_gradients(margin):
    """There the gradient of each KL is taken before the next batch is encoded."""

    def found(stackable):
        model = made_model()
        model.stackable = stackable
        step = introvae.encoder_loss(model, real_batch(), WEIGHTS, margin, generator(4, "noise"))
        step.loss.backward(retain_graph=True)
        both = [gradients(model.encoder.parameters()), gradients(model.decoder.parameters())]
        loss, terms = introvae.decoder_loss(model, step, WEIGHTS)
        loss.backward(inputs=list(model.decoder.parameters()))
        return [*both, gradients(model.decoder.parameters()), [loss.detach(), *step.terms.values(), *terms.values()]]

    for one, other in zip(found(stackable=True), found(stackable=False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def small(path, **changes):
    given = {"batch_size": 32, "iterations": 30, "warmup": 10, "milestones": ()}
    return published(Cell.from_path(path)).model_copy(update=given | changes)


def test_each_cell_of_a_fleet_has_its_own_hinge():
    settings = [small(PATH), small(PATH.replace("margin5", "margin0.000001")), small(PATH.replace("seed0", "seed1"))]
    fleet, alone = Players(settings), [Players([one]) for one in settings]
    for iteration in range(20):
        together = fleet.step(iteration)
        for index, players in enumerate(alone):
            for name, term in players.step(iteration).items():
                torch.testing.assert_close(together[name][index], term, rtol=2e-4, atol=2e-4, msg=name)
    assert together["hinge_fake"][1] == 0 < together["hinge_fake"][0]


def test_both_players_move_after_the_warm_up():
    players = Players([small(PATH)])
    for iteration in range(11):
        before = [p.detach().clone() for p in players.model.encoder.parameters()]
        before += [p.detach().clone() for p in players.model.decoder.parameters()]
        players.step(iteration)
    after = [*players.model.encoder.parameters(), *players.model.decoder.parameters()]
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


def test_the_token_is_read_and_spelled_back():
    cell = Cell.from_path(PATH)
    assert cell.path == PATH
    assert (cell.objective_name, cell.betas, cell.margin) == ("introvae", Betas(0.7, 0.3, 2.0), 5.0)
    assert published(cell).margin == 5.0


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("introvae/mog4-fixed/none", "IntroVAE is defined for N"),
        ("introvae-rec1-kl1-neg1/normal/none", "takes a margin too"),
        ("soft-introvae-rec1-kl1-neg1-margin2/normal/none", "takes no margin"),
        ("introvae-rec1-kl1-neg1-margin0/normal/none", "margin 0 is not positive"),
        ("introvae-rec1-kl1-neg1-margin1.0/normal/none", "must be written 1:"),
    ],
)
def test_bad_names_are_refused_in_one_line(part, said):
    with pytest.raises(SintroError, match=said):
        Cell.from_path(f"results/tiny/rings/{part}/seed0")
