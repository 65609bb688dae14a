"""The Inception network of FID: pytorch-fid's architecture, its weights read from a file and never fetched."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sintro.data.vision import fid_inception, torchvision
from sintro.data.weights import reading

DIMENSION = 2048
SIZE = 299  # pixels of the side to which images are resized

# The blocks in which FID's network differs from torchvision's: its pooling leaves the padding out, and its last block
# takes the maximum. They are pytorch-fid's; its own constructor of the network would download the weights.
BLOCKS = {
    "Mixed_5b": (fid_inception.FIDInceptionA, (192, 32)),
    "Mixed_5c": (fid_inception.FIDInceptionA, (256, 64)),
    "Mixed_5d": (fid_inception.FIDInceptionA, (288, 64)),
    "Mixed_6b": (fid_inception.FIDInceptionC, (768, 128)),
    "Mixed_6c": (fid_inception.FIDInceptionC, (768, 160)),
    "Mixed_6d": (fid_inception.FIDInceptionC, (768, 160)),
    "Mixed_6e": (fid_inception.FIDInceptionC, (768, 192)),
    "Mixed_7b": (fid_inception.FIDInceptionE_1, (1280,)),
    "Mixed_7c": (fid_inception.FIDInceptionE_2, (2048,)),
}


class Inception(nn.Module):
    """Images [B, 1 or 3, H, W] in [0, 1] to the 2,048 pooled features. A `size` other than 299 is for tests only."""

    def __init__(self, size: int = SIZE):
        super().__init__()
        self.size = size
        network = torchvision.models.Inception3(aux_logits=False, init_weights=False)
        for name, (block, arguments) in BLOCKS.items():
            setattr(network, name, block(*arguments))
        network.fc = nn.Identity()
        network.dropout = nn.Identity()  # pytorch-fid's has none; in train mode it would add noise
        self.network = network.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:  # [B, 2048]
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        resized = F.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return self.network(2 * resized - 1)


def load(path: Path) -> Inception:
    """Load the network with the weights in `path`. SintroError where they are not the weights of this network."""
    with reading(path, "Inception", "FID's Inception network"):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        inception = Inception()
        inception.network.load_state_dict({key: value for key, value in weights.items() if not key.startswith("fc.")})
    return inception
