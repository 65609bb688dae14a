"""The suite's sets of images with factors: ``solids`` (docs/science.md, section 6). Imports no torch."""

from pathlib import Path

from sintro.cells.components import FactorDataset, Factors, register

SOLIDS_SHA256 = "d81dd39ae897d31de4cfc134d82973046fd4e6df97c1ef563979dce440820780"  # of all pixels


@register
class Solids(FactorDataset):
    """Car-like boxes: 40 identities, each seen from 24 azimuths at two elevations."""

    name, title = "solids", "Solids"
    event = (3, 32, 32)
    classes, contents, unseen = 40, 48, range(32, 40)
    traits = {"colour": tuple(identity % 8 for identity in range(40))}  # noqa: RUF012
    origin = "drawn by the suite"

    def factors(self, root: Path) -> Factors:
        """Draw all images, and compare them with those of the benchmark."""
        import hashlib

        import numpy as np

        from sintro.data.solids import drawn

        images = drawn().reshape(-1, *self.event)
        classes, contents = np.divmod(np.arange(len(images)), self.contents)
        if hashlib.sha256(images.tobytes()).hexdigest() != SOLIDS_SHA256:
            return Factors(images, classes, contents, "unverified", False, "this machine draws other pixels")
        return Factors(images, classes, contents, "embedded", True)
