"""Images with factors: the drawn set `solids`, the interface that readers fill, pairs and their truths."""

import hashlib
import re
import time

import numpy as np
import pytest
import torch

from sintro import SintroError
from sintro.cells.components import FactorDataset, Factors, dataset, register
from sintro.cells.components.dataset import Dataset
from sintro.cells.components.registry import current
from sintro.data import factors, images, solids

PUBLISHED = "d81dd39ae897d31de4cfc134d82973046fd4e6df97c1ef563979dce440820780"  # of an independent drawer's pixels
BLACK = (0, 0, 0)


def test_solids_are_the_same_bytes_on_every_machine():
    started = time.process_time()
    drawn = solids.drawn()
    assert time.process_time() - started < 30  # 3 seconds on an idle core
    assert drawn.shape == (40, 48, 3, 32, 32)
    assert drawn.dtype == np.uint8
    assert hashlib.sha256(drawn.tobytes()).hexdigest() == PUBLISHED


def test_every_identity_in_every_pose_looks_unlike_all_others():
    flat = torch.from_numpy(solids.drawn().reshape(1920, -1).astype(np.float32))
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    assert distances.min() > 1


def only(quads: list[solids.Quad], colour: solids.Colour) -> list[solids.Quad]:
    """Select the quads of a colour, and blacken them."""
    return [quad._replace(colour=BLACK) for quad in quads if quad.colour == colour]


@pytest.mark.parametrize("azimuth", range(24))
def test_half_a_turn_swaps_lamps_for_tail_lights(azimuth):
    quads = solids.quads_of(solids.cars()[5])
    lamps, tails = only(quads, solids.LAMP), only(quads, solids.TAIL_LIGHT)
    assert len(lamps) == len(tails) == 2
    seen = solids.draw(lamps, azimuth, 25), solids.draw(tails, azimuth, 25)
    turned = solids.draw(lamps, azimuth + 12, 25), solids.draw(tails, azimuth + 12, 25)
    assert (seen[0] == turned[1]).all()
    assert (seen[1] == turned[0]).all()
    assert (seen[0] == 255).all() or (seen[1] == 255).all()  # never both


def test_a_flat_square_fills_the_samples_that_it_covers():
    canvas = np.zeros((8, 8), np.uint8)
    solids._fill(canvas, [[2, 4], [2, 12], [10, 12], [10, 4]], 7)  # in halves of a sample: columns 1-4, rows 2-5
    expected = np.zeros((8, 8), np.uint8)
    expected[2:6, 1:5] = 7
    assert (canvas == expected).all()


def test_solids_train_on_32_identities_and_keep_8_unseen():
    train, test = (images.load("solids", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (32 * 48, 8 * 48)
    assert dataset("solids").size == len(train)
    assert set(train.labels.tolist()) == set(range(32))
    assert set(test.labels.tolist()) == set(range(32, 40))
    assert train.state == "embedded"
    assert train.facts.verified is True
    assert train.contents.bincount().tolist() == [32] * 48
    some = train.choose(100)
    same = (train.images == some.images[3]).flatten(1).all(1).nonzero().item()
    assert (some.labels[3], some.contents[3]) == (train.labels[same], train.contents[same])


def test_truth_is_the_image_of_the_class_and_the_content():
    every = factors.load("solids")
    first, second = every.pairs(300, seen=False)
    classes, contents = every.classes[first], every.contents[second]
    found = every.images[every.truth(classes, contents)].numpy()
    assert (found == solids.drawn()[classes.numpy(), contents.numpy()]).all()
    assert not every.is_seen[first].any()
    assert not every.is_seen[second].any()
    assert (classes != every.classes[second]).all()
    assert (contents != every.contents[first]).all()
    assert set(classes.tolist()) == set(range(32, 40))
    assert len(set(contents.tolist())) == 48
    again = factors.load("solids").pairs(300, seen=False)
    assert (first == again[0]).all()
    assert (second == again[1]).all()
    assert every.is_seen[every.pairs(50, seen=True)[0]].all()


class Made(FactorDataset):
    """Tiny images with factors, as a reader gives them; two classes of four are unseen."""

    name, title, event = "made-factors", "Made", (1, 16, 16)
    classes, contents, unseen = 4, 30, (1, 2)

    def factors(self, root):
        pixels = np.random.RandomState(0).randint(0, 256, (120, 1, 16, 16)).astype(np.uint8)
        classes, contents = np.divmod(np.arange(120), 30)
        return Factors(pixels, classes, contents if self.contents else None, "embedded", True)


class Unlabelled(Made):
    """The same without labels of the contents."""

    name, contents, size = "made-unlabelled", None, 60


class Gap(Made):
    """A data set in which one class lacks a content."""

    name = "made-gap"

    def factors(self, root):
        found = super().factors(root)
        kept = np.arange(120) != 34  # class 1, content 4
        return found._replace(**{part: getattr(found, part)[kept] for part in ("images", "classes", "contents")})


SPOILT = {
    "float": ({"images": np.zeros((120, 1, 16, 16))}, r"gives float64 .*expected uint8 \[N, 1 x 16 x 16\]"),
    "shape": ({"images": np.zeros((120, 1, 16, 8), np.uint8)}, r"gives uint8 \(120, 1, 16, 8\)"),
    "number": ({"classes": np.arange(60) // 15}, r"gives classes int64 \(60,\), expected integers \[120\]"),
    "class": ({"classes": np.arange(120) // 15}, "expected images with classes from 0 to 3"),
    "content": ({"contents": np.arange(120)}, "expected images with contents from 0 to 29"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_images_with_factors_that_are_not_as_declared_are_refused(monkeypatch, case):
    spoilt, said = SPOILT[case]
    factors_of = Made.factors
    monkeypatch.setattr(Made, "factors", lambda self, root: factors_of(self, root)._replace(**spoilt))
    with pytest.raises(SintroError, match=f"factors of made-factors.*{said}"):
        Made().load(None)


def test_two_classes_at_least_are_unseen():
    one = Made()
    assert one.problem() == ""
    one.unseen = (1, 1)
    assert "unseen is (1, 1); legal is numbers of two classes or more" in one.problem()


@pytest.fixture(autouse=True)
def made(monkeypatch):
    for kind in (Made, Unlabelled, Gap):
        monkeypatch.setitem(current().known[Dataset], kind.name, kind())


def test_unseen_classes_may_lie_anywhere():
    assert dataset("made-factors").size == 60
    train, test = (images.load("made-factors", split) for split in ("train", "test"))
    assert train.labels.unique().tolist() == [0, 3]
    assert test.labels.unique().tolist() == [1, 2]
    every = factors.load("made-factors")
    assert every.truth(torch.tensor([1, 3]), torch.tensor([4, 0])).tolist() == [64, 30]
    assert (every.batch(torch.tensor([64]))[0] * 255 == torch.from_numpy(Made().factors(None).images[34])).all()


def test_without_content_labels_there_is_no_truth():
    every = factors.load("made-unlabelled")
    first, second = every.pairs(20, seen=False)
    assert (every.classes[first] != every.classes[second]).all()
    with pytest.raises(SintroError, match="no content labels"):
        every.truth(every.classes[first], every.classes[second])


def test_a_pair_without_a_truth_is_never_drawn():
    every = factors.load("made-gap")
    first, second = every.pairs(2000, seen=False)
    missing = (every.classes[first] == 1) & (every.contents[second] == 4)
    assert not missing.any()
    assert len(first) == 2000
    with pytest.raises(SintroError, match="no image of some"):
        every.truth(torch.tensor([1]), torch.tensor([4]))


def test_other_data_sets_have_no_factors():
    with pytest.raises(SintroError, match="digits has no factors"):
        factors.load("digits")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("unseen", (), "unseen is ()"),
        ("contents", 0, "contents is 0"),
        ("event", (8, 8), "event is (8, 8)"),
        ("factors", None, "lacks 'factors'"),
    ],
)
def test_a_wrong_declaration_is_refused(attribute, value, said):
    kind = type("Wrong", (Made,), {"name": "made-wrong", attribute: value})
    with pytest.raises(SintroError, match=re.escape(said)):
        register(kind)
