"""Priors and objectives of one's own, each in one file (tests/toys), from `sintro show` to the report's page."""

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch

from sintro import SintroError
from sintro.__main__ import main
from sintro.cells import components, fleets, studies
from sintro.cells.cell import Cell
from sintro.objectives import build
from sintro.runs import stored
from sintro.training.players import Players

TOYS = Path(__file__).parent / "toys"
STUDY = """
title: Components of our own
comparable: false
seeds: [0]
overrides:
  iterations: 30
  warmup: 1/2
  batch_size: 32
  samples: 4
  evaluation_points: 200
  evaluation_grid: 16
cells:
  - {datasets: [rings], objectives: [soft-introvae], priors: [coupling, coupling-encoder, shared2]}
  - {datasets: [rings], objectives: [soft-introvae], priors: [shared2], regularizers: [resp1]}
  - {datasets: [rings], objectives: [annealed-vae], priors: [normal, vamp4, coupling]}
"""
FLOW = "results/own/rings/soft-introvae/coupling/none/seed0"
WITH_ENCODER = "results/own/rings/soft-introvae/coupling-encoder/none/seed0"
SHARED = "results/own/rings/soft-introvae/shared2/resp1/seed0"
ANNEALED = "results/own/rings/annealed-vae/vamp4/none/seed0"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the toys in its extensions and a study of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extensions").mkdir()
    for toy in TOYS.glob("*.py"):
        (tmp_path / "extensions" / toy.name).write_text(toy.read_text())
    (tmp_path / "workflow" / "studies").mkdir(parents=True)
    (tmp_path / "workflow" / "studies" / "own.yaml").write_text(STUDY)
    return tmp_path


def train(path, *options):
    return main(["train", path, "--device", "cpu", "--threads", "1", *options])


def settings_of(path):
    return studies.settings(Cell.from_path(path))


def write(here, name, text):
    (here / "extensions" / f"{name}.py").write_text(text)


def test_a_toy_is_short():
    assert all(len(toy.read_text().splitlines()) <= 40 for toy in TOYS.glob("*.py"))


@pytest.mark.parametrize("path", [FLOW, WITH_ENCODER, SHARED, ANNEALED])
def test_a_toy_from_show_to_page(here, monkeypatch, capsys, path):
    assert main(["show", path]) == 0
    assert train(path) == 0
    expected = {name: Path(path, name).read_bytes() for name in ("model.pt", "history.csv")}
    step = Players.step

    def step_and_signal(self, iteration, mean_responsibilities=False):
        if iteration == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, iteration, mean_responsibilities)

    with monkeypatch.context() as patched:
        patched.setattr(Players, "step", step_and_signal)
        assert train(path, "--restart") == 75
    assert train(path) == 0
    assert {name: Path(path, name).read_bytes() for name in expected} == expected
    assert main(["evaluate", path, "--device", "cpu"]) == 0
    metrics = json.loads(Path(path, "metrics.json").read_text())
    assert metrics["status"] == "done"
    assert math.isfinite(metrics["kl_posterior"])
    assert ("responsibility_entropy" in metrics) == (path in (SHARED, ANNEALED))
    assert main(["report", "own"]) == 0
    assert Cell.from_path(path).objective in Path("reports/own/index.html").read_text()
    assert Path(path, "latent.png").exists()


@pytest.mark.parametrize("path", [FLOW, WITH_ENCODER, SHARED])
def test_a_toy_prior_learns_in_both_phases_and_is_stored(here, path):
    settings = settings_of(path)
    players = Players([settings])
    start = {name: value.clone() for name, value in players.state()["parameters"]["prior"].items()}
    for iteration in range(settings.iterations):
        if iteration in (settings.warmup, settings.iterations - 1):
            now = players.state()["parameters"]["prior"]
            assert all(not torch.equal(now[name], value) for name, value in start.items() if name != "logits")
            start = now
        players.step(iteration)
    model = build.stored_model(settings, players.state(), "cpu")
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(model.mixture().log_prob(z), players.model.mixture().log_prob(z))


def test_the_buffers_of_a_prior_are_stored_and_trying_it_out_leaves_them_alone(here):
    text = (TOYS / "coupling.py").read_text().replace('name = "coupling"', 'name = "counting"')
    begun = "self.kept = latent_size // 2\n"
    text = text.replace(begun, f"{begun}                self.register_buffer('calls', torch.zeros(()))\n")
    first = "            def log_prob(self, z):\n"
    write(here, "counting", text.replace(first, f"{first}                self.calls += 1\n"))
    settings = settings_of(FLOW.replace("coupling", "counting"))
    players = Players([settings])
    assert players.model.prior.calls == 0
    for iteration in range(3):
        players.step(iteration)
    state = players.state()
    calls = state["buffers"]["prior"]["calls"]
    assert calls >= 3
    assert build.stored_model(settings, state, "cpu").prior.calls == calls
    again = Players([settings])
    again.load([state], 3)
    assert again.model.prior.calls == calls
    del state["buffers"]["prior"]
    with pytest.raises(SintroError, match="the stored state lacks the buffers of the prior; train the cell anew"):
        build.stored_model(settings, state, "cpu")


def test_a_prior_that_does_not_learn_is_frozen_when_the_warm_up_ends(here):
    text = (TOYS / "coupling.py").read_text().replace('name = "coupling"', 'name, learned = "still", False')
    write(here, "still", text)
    settings = settings_of(FLOW.replace("coupling", "still"))
    players = Players([settings])
    for iteration in range(settings.warmup + 1):
        players.step(iteration)
    before = players.state()["parameters"]["prior"]
    players.step(settings.warmup + 1)
    assert all(torch.equal(value, before[name]) for name, value in players.state()["parameters"]["prior"].items())


def test_the_flow_is_a_density(here):
    """It integrates to one, and its draws have the entropy that its log density says."""
    settings = settings_of(FLOW)
    prior = build.first_prior(settings, None, "cpu")
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(2)
        axis = torch.linspace(-12, 12, 1201)
        grid = torch.cartesian_prod(axis, axis)
        mass = prior.log_prob(grid).double().exp().sum() * float(axis[1] - axis[0]) ** 2
        assert abs(float(mass) - 1) < 1e-3
        drawn = prior.sample(20_000, torch.Generator().manual_seed(0))[0]
        entropy = -(prior.log_prob(grid).double().exp() * prior.log_prob(grid).double()).sum() * 0.02**2
        assert abs(float(-prior.log_prob(drawn).mean()) - float(entropy)) < 0.03


def test_a_constant_prior_gives_its_parameters_no_gradient(here):
    prior = build.first_prior(settings_of(FLOW), None, "cpu")
    z = torch.randn(8, 2, requires_grad=True)
    prior.detach().log_prob(z).sum().backward()
    assert z.grad is not None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in prior.parameters())


def test_the_annealed_objective_anneals(here):
    settings = settings_of(ANNEALED)
    players = Players([settings])
    for iteration in range(settings.iterations):
        terms = players.step(iteration)
        share = min(1.0, 2 * (iteration + 1) / settings.iterations)
        expected = settings.beta_rec * terms["reconstruction"] + share * settings.beta_kl * terms["kl_real"]
        torch.testing.assert_close(terms["loss_encoder"], expected)


def test_they_train_one_by_one(here, capsys):
    assert main(["train", FLOW, WITH_ENCODER.replace("seed0", "seed1"), "--fleet", "2"]) == 2
    assert "prior 'coupling' train one by one" in capsys.readouterr().err
    text = STUDY.replace("seeds: [0]", "seeds: [0, 1]\nfleet: 2").replace("iterations: 30", "iterations: 20")
    (here / "workflow" / "studies" / "own.yaml").write_text(text)
    assert fleets.of_study(studies.load("own")) == {}


def test_a_prior_whose_parameters_a_fleet_would_share_is_refused(here):
    text = (TOYS / "coupling.py").read_text()
    write(here, "coupling", text.replace('name = "coupling"', 'name, stackable = "coupling", True'))
    settings = [settings_of(FLOW), settings_of(FLOW).model_copy(update={"seed": 1})]
    assert Players(settings[:1]).model.prior.parameters()
    with pytest.raises(
        SintroError, match=r"coupling\.py: prior 'coupling': 2 cells side by side would share its tensor"
    ):
        Players(settings)


def test_a_deleted_extension_leaves_its_results(here):
    assert train(FLOW) == 0
    assert main(["evaluate", FLOW, "--device", "cpu"]) == 0
    (here / "extensions" / "coupling.py").write_text("\n# changed\n" + (TOYS / "coupling.py").read_text())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sintro.cells.components.registry._registries", {})
        assert settings_of(FLOW).digest != stored.read(Path(FLOW), stored.Provenance).digest


BAD = {
    "lacks make": ("class Mine(Prior):\n    name = 'mine'\n", "lacks 'make'"),
    "a built-in's name": ("class Mine(Prior):\n    name = 'normal'\n    def make(self, s, p): ...\n", "of this name"),
    "a built-in's spelling": (
        "class Mine(Prior):\n    name = 'mog4-fixed'\n    def make(self, s, p): ...\n",
        "is a spelling of prior 'mixture'",
    ),
    "introspective like a vae": (
        "class Mine(Objective):\n    name, like = 'mine', 'vae'\n    def make(self): ...\n",
        "like 'vae' has no hyper-parameters of introspective iterations; legal are soft-introvae, ",
    ),
    "an objective's spelling": (
        "class Mine(Objective):\n    name = 'vae-rec1-kl1'\n    def make(self): ...\n",
        "is a spelling of objective 'vae'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_registered(here, case):
    text, said = BAD[case]
    write(here, "mine", f"from sintro.cells.components import Objective, Prior, register\n\n\n@register\n{text}")
    assert [said in error and "mine.py:" in error for error in components.broken().values()] == [True]
    assert Cell.from_path(FLOW)  # the others are as before


@pytest.mark.parametrize("changes", [
    ("return Flow(settings.latent_size)", "return 5", "coupling.py: prior 'coupling': make returned a int"),
    ("- log_scale.sum(-1)", "- log_scale", "log_prob of three points has the shape (3, 3)"),
    ("n, self.latent_size), gen", "n, 3), gen", "three draws have the shape"),
    ("- log_scale.sum(-1)", "- log_scale.sum(-1).double()", "log_prob of draws is of torch.float64, and must be of"),
    ("shift, log_scale = self.network(first)", "shift, log_scale = self.net(first)", "coupling.py:34: AttributeError"),
    ("self.network", "self.parts", "coupling.py:22: AttributeError: 'parts' is something that every prior has"),
    ('name = "coupling"', 'name, has_modes = "coupling", True', "as_density returns no mixture"),
])  # fmt: skip
def test_what_is_no_prior_is_one_line(here, capsys, changes):
    old, new, said = changes
    text = (TOYS / "coupling.py").read_text()
    assert old in text
    write(here, "coupling", text.replace(old, new))
    assert train(FLOW) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not Path(FLOW, "model.pt").exists()


def test_an_objective_without_losses_is_one_line(here, capsys):
    text = (TOYS / "annealed.py").read_text()
    write(
        here,
        "annealed",
        text.replace("return Annealed()", "Annealed.step = lambda self, *_: {}\n        return Annealed()"),
    )
    assert train(ANNEALED) == 2
    assert "loss_decoder and loss_encoder among them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ("{'loss_encoder': 1.0, 'loss_decoder': 2.0}", "the term 'loss_encoder' is a float; legal is a tensor of one"),
        (
            "dict.fromkeys(('loss_encoder', 'loss_decoder'), __import__('torch').zeros(2))",
            "the term 'loss_encoder' is a tensor of the shape (2,); legal is a tensor of one number for each cell",
        ),
    ],
)
def test_an_objective_whose_terms_are_no_numbers_is_one_line(here, capsys, terms, said):
    text = (TOYS / "annealed.py").read_text()
    write(
        here,
        "annealed",
        text.replace("return Annealed()", f"Annealed.step = lambda self, *_: {terms}\n        return Annealed()"),
    )
    assert train(ANNEALED) == 2
    assert f"objective 'annealed-vae': {said}" in capsys.readouterr().err


def test_a_loss_that_returns_no_step_is_one_line(here, capsys):
    write(
        here,
        "short",
        "from sintro.cells.components import register\n"
        "from sintro.objectives.builtin import SoftIntroVae\n\n\n"
        "@register\n"
        "class Short(SoftIntroVae):\n"
        "    name = 'short-vae'\n\n"
        "    def make(self):\n"
        "        from sintro import objectives\n\n"
        "        class Own(objectives.SoftIntroVae):\n"
        "            def decoder_loss(self, *given):\n"
        "                return super().decoder_loss(*given).loss\n\n"
        "        return Own()\n",
    )
    assert train("results/own/rings/short-vae/normal/none/seed0") == 2
    assert "objective 'short-vae': decoder_loss returned a Tensor; legal is a" in capsys.readouterr().err


CLIPPED = "results/own/rings/soft-introvae/shared2/clip/seed0"
CLIPS = """
            def clip_to_modes(self):
                self.clip(self.log_var.detach() - 1, self.log_var.detach() + 1)
"""


def write_clipped(here, method):
    """The toy `shared` with clipping, which is this method of its prior."""
    text = (TOYS / "shared.py").read_text().replace("has_modes = True", "has_modes = clips = True")
    before, after = text.split("\n        return SharedVariances")
    write(here, "shared", f"{before}{method}\n        return SharedVariances{after}")


def test_a_prior_that_clips_has_its_own_way(here):
    write_clipped(here, "")
    with pytest.raises(SintroError, match="it says clips, and has no clip_to_modes of its own"):
        Players([settings_of(CLIPPED)])


def test_the_bounds_of_a_priors_own_clipping_are_stored(here):
    write_clipped(here, CLIPS)
    settings = settings_of(CLIPPED)
    players = Players([settings])
    players.model.prior.clip_to_modes()
    state = players.state()
    again = build.stored_prior([settings], [state], "cpu")
    assert [bound.tolist() for bound in again.bounds] == [bound.tolist() for bound in state["bounds"]]
    assert len(state["bounds"]) == 2
    with pytest.raises(SintroError, match="clipping begins when the warm-up ends, and is for introspective runs only"):
        Cell.from_path(CLIPPED.replace("soft-introvae", "vae"))


def test_an_objective_that_fails_in_training_is_one_line(here, capsys):
    write(here, "annealed", (TOYS / "annealed.py").read_text().replace("game.iteration", "game.step_number"))
    assert train(ANNEALED) == 2
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if "annealed.py:18: AttributeError" in line]
    assert json.loads(Path(ANNEALED, "failure.json").read_text())["exit_code"] == 2


@pytest.mark.parametrize(("kind", "cell"), [("prior", "soft-introvae/own-one"), ("objective", "own-one/normal")])
def test_what_new_writes_works(tmp_path, monkeypatch, capsys, kind, cell):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflow" / "studies").mkdir(parents=True)
    study = STUDY.partition("cells:")[0] + "cells: [{datasets: [rings], objectives: [vae], priors: [normal]}]\n"
    (tmp_path / "workflow" / "studies" / "own.yaml").write_text(study)
    assert main(["new", kind, "own-one"]) == 0
    monkeypatch.setattr("sintro.cells.components.registry._registries", {})  # as a new process would read it
    path = f"results/own/8gaussians/{cell}/none/seed0"
    assert train(path) == 0
    assert main(["evaluate", path, "--device", "cpu"]) == 0
    assert json.loads(Path(path, "metrics.json").read_text())["status"] == "done"
    assert main(["new", kind, "own-one"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_toys_with_images(here):
    """The same files serve the other network, batches and metrics."""
    study = """
title: Images with components of our own
comparable: false
seeds: [0]
image_overrides: {iterations: 20, warmup: 2/5, batch_size: 25, samples: 4, channels: [4, 8], training_images: 200,
                  evaluation_images: 100}
cells: [{datasets: [digits], objectives: [soft-introvae], priors: [coupling, shared2]}]
"""
    (here / "workflow" / "studies" / "digital.yaml").write_text(study)
    for prior, has_modes in (("coupling", False), ("shared2", True)):
        path = f"results/digital/digits/soft-introvae/{prior}/none/seed0"
        assert train(path) == 0
        assert main(["evaluate", path, "--device", "cpu"]) == 0
        metrics = json.loads(Path(path, "metrics.json").read_text())
        assert metrics["status"] == "done"
        assert ("responsibility_entropy" in metrics) == Path(path, "mode_images.png").exists() == has_modes
