"""The identity of the data that a cell is trained on or measured with, as files record and compare it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sintro import SintroError


@dataclass(frozen=True)
class Facts:
    """A data set's identity.

    ``sha256`` and ``test_sha256`` are of the content of its splits, None where nothing is read: the code's version
    identifies a 2D density. ``verified`` says whether the content is the published one, ``reason`` why it is not known
    to be.
    """

    sha256: str | None = None
    test_sha256: str | None = None
    verified: bool | None = None
    reason: str = ""

    def recorded(self) -> dict[str, Any]:
        """Return the keys and values that provenance.json, metrics.json and checkpoints hold."""
        if self.sha256 is None:
            return {"data_sha256": None}
        found = {"data_sha256": self.sha256, "data_test_sha256": self.test_sha256, "data_verified": self.verified}
        return found | ({"data_unverified": self.reason} if self.verified is False else {})

    def warning(self, dataset: str) -> str | None:
        """Return a line of warning for data that are not known to be the published ones; None for all others."""
        if self.verified is not False:
            return None
        return f"warning: {dataset} is unverified, so nothing made of it is comparable: {self.reason}"

    def refuse_other(self, recorded: Mapping[str, Any], what: str, dataset: str, remedy: str) -> None:
        """Raise SintroError where ``recorded`` names other data than these.

        Args:
            recorded: the keys that :meth:`recorded` gave when ``what`` was made; a key that an older version did not
                write is not compared.
            what: the result that was made of the recorded data, which begins the line; ``remedy`` ends it.
        """
        for key, found in (("data_sha256", self.sha256), ("data_test_sha256", self.test_sha256)):
            known = recorded.get(key)
            if known is not None and known != found:
                split = "test" if "test" in key else "training"
                raise SintroError(
                    f"{what} was made with other data: the {split} split of {dataset} had sha256 {str(known)[:12]}..., "
                    f"and now has {str(found)[:12]}...; use the same data as then (--data or SINTRO_DATA), or {remedy}"
                )
