"""Reconstruction errors by the features of VGG-16, as LORD compares images (docs/science.md, section 2).

Gabbay & Hoshen 2020, after Hoshen, Li & Malik 2019. The weights are torchvision's; they are read from a verified file
and never fetched here.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from sintro.data.weights import IMAGENET_DEVIATION, IMAGENET_MEAN, reading

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # of the five stages' convolutions
COMPARED = (3, 8, 13, 22, 30)  # places in torchvision's `features`: four outputs of a ReLU and the last maximum
LAYERS = "features."  # what the names of the convolutions begin with in the published file


class PerceptualError(nn.Module):
    """Compares images by their pixels and by VGG-16's features of them; its weights are constant.

    Args:
        raw: whether pixels enter VGG-16 as they are, as in LORD's PyTorch program. Otherwise a grey image is repeated
            to three channels, and ImageNet's mean and deviation are taken out, as VGG-16 was trained.
    """

    def __init__(self, raw: bool):
        super().__init__()
        self.raw = raw
        layers: list[nn.Module] = []
        channels = 3
        for stage in WIDTHS:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1))
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the features of images ``[B, C, H, W]``, pixels in [0, 1], at the five places compared."""
        hidden = images if self.raw else (images.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        found = []
        for place, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if place in COMPARED:
                found.append(hidden)
        return found

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """D (mean |x - y| + sum over the five places of mean |f(x) - f(y)|) of pairs of images -> [B].

        Args:
            images, others: ``[B, C, H, W]``, H and W at least 32. D = C H W, so that the pixels' part is a sum over
                an image's pixels, as the squared error is.
        """
        pairs = zip([images, *self.features(images)], [others, *self.features(others)], strict=True)
        distances = [(first - second).abs().flatten(1).mean(1) for first, second in pairs]
        return images[0].numel() * sum(distances[1:], distances[0])


def load(path: Path, raw: bool) -> PerceptualError:
    """Build the error with VGG-16's weights in ``path``. SintroError where they are not VGG-16's."""
    with torch.random.fork_rng(devices=[]):  # the first, random weights are no draws of a cell
        error = PerceptualError(raw)
    with reading(path, "VGG-16", "torchvision's VGG-16"):
        stored = torch.load(path, map_location="cpu", weights_only=True)
        error.layers.load_state_dict({name: stored[LAYERS + name] for name in error.layers.state_dict()})
    return error
