"""The benchmarks measure what they say: FLOP that are counted, and made-up results as the verbs judge them."""

from collections import Counter

import torch

from benchmarks import scale, training
from sintro.cells import studies
from sintro.runs import results, states


def test_flop_are_those_of_products_and_convolutions_and_of_their_gradients():
    image, kernel = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3, requires_grad=True)
    with training._Counter() as counter:
        torch.nn.functional.conv2d(image, kernel, padding=1).sum().backward()
        torch.randn(7, 11) @ torch.randn(11, 13)
    convolution = 2 * 2 * 64 * 5 * 3 * 9
    assert counter.flop == 2 * convolution + 2 * 7 * 11 * 13


def test_an_iteration_of_images_is_counted_whole():
    """Each network passes forwards and backwards in both steps: many times what it takes to encode a batch."""
    digits = "digits/soft-introvae/mog10-learned/clip"
    settings = training.settings_of(digits)
    with training._Counter() as once, torch.no_grad():
        training.Players([settings]).model.encoder(torch.zeros(settings.batch_size, *settings.event))
    assert 10 * once.flop < training.counted_flop(digits)() < 40 * once.flop


def test_made_up_results_are_judged_as_they_are_meant(tmp_path, monkeypatch):
    study = studies.load("quick")
    monkeypatch.setattr(scale, "STUDY", "quick")
    scale.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    cells = study.cells()
    found = Counter(state.name for state in states.of_cells(cells).values())
    assert found["done"] == len(cells[::2])
    assert found["failed"] == len(cells[1::20])
    assert all(results.judge(cell).state == "done" for cell in cells[::2])
