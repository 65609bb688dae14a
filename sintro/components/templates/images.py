"""A set of images from a folder of pictures, one folder a class. docs/extending.md says more.

data/NAME/train/<class>/*.png and data/NAME/test/<class>/*.png are read (another place than data/: $SINTRO_DATA).

sintro show results/quick/NAME/vae/normal/none/seed0    what would be trained, and why so
"""

from sintro import SintroError
from sintro.components import SOFT, ImageDataset, Row, register
from sintro.data.sources import data_root


@register
class CLASS(ImageDataset):
    name = "NAME"  # in paths and studies
    title = "NAME"  # in tables and figures
    event = (1, 32, 32)  # channels (1: grey, 3: colour), height, width: every picture is brought to this size
    partner = None  # the data set that detection sets against this one; None: made-up images
    photographs = True  # whether Inception's features, and so FID, mean anything for it
    # The published hyper-parameters of images hold (sintro show names each one's source); rows here win over them.
    rows = (Row(SOFT, {"beta_neg": 256.0}, "chosen by hand"),)

    @property
    def size(self):  # how many training images there are (100 at least); a plain number spares the counting
        return len(self.pictures("train", data_root()))

    @property
    def classes(self):
        return len({path.parent.name for path in self.pictures("train", data_root())})

    def pictures(self, split, root):
        found = sorted((root / self.name / split).glob("*/*.png"))
        if not found:
            raise SintroError(f"{self.name}: no pictures {root / self.name / split}/<class>/*.png")
        return found

    def read(self, split, root):
        """Images uint8 [N, C, H, W] and labels [N], in the same order on every call."""
        import numpy as np
        from PIL import Image

        paths, (channels, height, width) = self.pictures(split, root), self.event
        names = sorted({path.parent.name for path in self.pictures("train", root)})
        images = [Image.open(path).convert("L" if channels == 1 else "RGB").resize((width, height)) for path in paths]
        pixels = np.stack([np.asarray(image) for image in images]).reshape(-1, height, width, channels)
        return pixels.transpose(0, 3, 1, 2), np.array([names.index(path.parent.name) for path in paths])
