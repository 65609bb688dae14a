"""What runs on a GPU, against the same on the processor; all of it is skipped where torch sees no GPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import INTROVAE, MOG, NORMAL, VAE, small

from sintro.__main__ import main
from sintro.basics import randomness
from sintro.basics.files import read_json
from sintro.cells.cell import Cell
from sintro.evaluation import plane
from sintro.evaluation.plane import measure_density
from sintro.objectives import build
from sintro.priors.mixture import mixture_log_prob
from sintro.training import players
from sintro.training import tasks as training
from sintro.training.players import Players
from sintro.training.record import Task

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
CELLS = [MOG, MOG.replace("seed0", "seed1"), MOG.replace("rings", "8gaussians")]
STUDY = """
title: On a GPU
description: Tiny cells.
comparable: false
length: 1/1000
seeds: [0, 1]
overrides: {batch_size: 64, samples: 8, evaluation_points: 400, evaluation_grid: 64}
image_overrides:
  {iterations: 30, batch_size: 32, samples: 4, training_images: 300, evaluation_images: 100}
cells:
"""
ROW = "  - {{datasets: [{}], objectives: [{}], priors: [{}], regularizers: [{}]}}"


@pytest.fixture
def one_noise(monkeypatch):
    """Have every draw made on the processor, so that both devices see the same numbers."""
    draw = randomness._draw

    def moved(sampler, shape, generators, dtype):
        return draw(sampler, shape, generators, dtype).to(where["device"])

    def on_the_processor(settings, stream, iteration, device):
        where["device"] = device
        return generators(settings, stream, iteration, "cpu")

    where, generators = {}, build.generators
    monkeypatch.setattr(randomness, "_draw", moved)
    monkeypatch.setattr(build, "generators", on_the_processor)
    monkeypatch.setattr(players, "generators", on_the_processor)


@pytest.mark.parametrize("paths", [[MOG], [NORMAL], [VAE], [INTROVAE], CELLS], ids=str)
def test_iterations_agree_with_those_of_the_processor(paths, one_noise):
    here, there = (Players([small(path) for path in paths], device) for device in ("cpu", GPU))
    for iteration in range(32):  # warm-up, conversion and both players' steps
        expected = here.step(iteration, iteration % 4 == 0)
        found = there.step(iteration, iteration % 4 == 0)
        assert found.keys() == expected.keys()
        for name, term in expected.items():
            torch.testing.assert_close(found[name].cpu(), term, rtol=5e-3, atol=1e-3, msg=f"{name} {iteration}")


@pytest.mark.parametrize("fleet", [(), (3,)])
@pytest.mark.parametrize(("n", "k"), [(300, 7), (20_000, 64)])
def test_the_mixture_density_agrees_with_float64_on_the_processor(fleet, n, k):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(*fleet, *shape, generator=generator) for shape in ((n, 2), (k, 2), (k, 2), (k,))]
    tensors[0] *= 3
    tensors[3] = torch.log_softmax(tensors[3], -1)
    ours = [t.to(GPU).detach().requires_grad_() for t in tensors]
    theirs = [t.double().detach().requires_grad_() for t in tensors]
    found, shares = mixture_log_prob(*ours, mean_responsibilities=True)
    expected, expected_shares = mixture_log_prob(*theirs, mean_responsibilities=True)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shares.cpu().double(), expected_shares, rtol=1e-5, atol=1e-6)
    (found.mean() + shares.square().sum()).backward()
    (expected.mean() + expected_shares.square().sum()).backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad.cpu().double(), other.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("path", [MOG, NORMAL, VAE])
def test_the_metrics_of_a_density_agree_with_those_of_the_processor(path, one_noise, monkeypatch):
    monkeypatch.setattr(
        plane, "generator", lambda seed, stream, number=0, _="cpu": randomness.generator(seed, stream, number)
    )
    settings = small(path, evaluation_points=2000, evaluation_grid=128)
    trained = Players([settings], GPU)
    for iteration in range(settings.iterations):
        trained.step(iteration)
    with torch.no_grad():
        found, arrays = measure_density(trained.model, settings, GPU)
        there = Players([settings], "cpu")
        there.load([trained.state()], settings.iterations)
        expected, others = measure_density(there.model, settings, "cpu")
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(arrays["energy"], others["energy"], rtol=1e-3, atol=1e-3)
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=0.02, abs=0.02), name


@pytest.mark.parametrize("graph", [False, True])
def test_a_fleet_that_was_stopped_resumes_where_it_was(tmp_path, monkeypatch, graph):
    monkeypatch.chdir(tmp_path)

    def run(**options):
        tasks = [Task(Cell.from_path(path), small(path), {}, f"sintro train {path}") for path in CELLS]
        return training.train_all(tasks, training.Options(GPU, 1, graph=graph, **options), len(CELLS))

    assert run() == 0
    expected = [torch.load(Path(path, "model.pt"), weights_only=True) for path in CELLS]
    step = Players.step

    def stopping(self, iteration, mean_responsibilities=False):
        if iteration == 24:
            raise KeyboardInterrupt
        return step(self, iteration, mean_responsibilities)

    with monkeypatch.context() as patch:
        patch.setattr(Players, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_every=0, restart=True)
    assert run() == 0
    for path, before in zip(CELLS, expected, strict=True):
        provenance = read_json(Path(path, "provenance.json"))
        assert provenance["resumed"] == 1
        assert provenance["fleet"] == 3
        assert provenance["gpu"] == torch.cuda.get_device_name()
        after = torch.load(Path(path, "model.pt"), weights_only=True)
        for player, own in before["parameters"].items():
            for name, value in own.items():
                torch.testing.assert_close(after["parameters"][player][name], value, rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.parametrize("options", [["--fleet", "4"], ["--fleet", "4", "--graph"]])
def test_a_study_in_the_plane_from_training_to_its_page(write_study, options):
    write_study("here", STUDY + ROW.format("rings, 8gaussians", "soft-introvae", "mog4-learned", "clip"))
    name = "soft-introvae/mog4-learned/clip"
    cells = [f"results/here/{data}/{name}/seed{seed}" for data in ("rings", "8gaussians") for seed in (0, 1)]
    assert main(["train", *cells, "--device", GPU, *options]) == 0
    for cell in cells:
        assert main(["evaluate", cell, "--device", GPU]) == 0
        assert read_json(Path(cell, "metrics.json"))["status"] == "done"
    assert main(["report", "here"]) == 0
    assert main(["archive", "here"]) == 0


@pytest.mark.parametrize("row", ["vae/vamp4-lc/none", "soft-introvae/mog4-learned/clip-resp10", "introvae/normal/none"])
def test_an_image_cell_from_training_to_its_page(write_study, row):
    write_study("here", STUDY + ROW.format("digits", *row.split("/")))
    from_training_to_metrics(f"results/here/digits/{row}/seed0")
    assert main(["report", "here"]) == 0


@pytest.mark.parametrize("row", ["soft-introvae-swap/normal/none", "lord/normal/none"])
def test_a_translation_cell_from_training_to_its_metrics(write_study, row):
    write_study("here", STUDY.replace(", training_images: 300", "") + ROW.format("solids", *row.split("/")))
    from_training_to_metrics(f"results/here/solids/{row}/seed0")


def from_training_to_metrics(cell):
    assert main(["train", cell, "--device", GPU]) == 0
    assert main(["evaluate", cell, "--device", GPU]) == 0
    assert read_json(Path(cell, "metrics.json"))["status"] == "done"
