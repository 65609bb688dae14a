"""Sintro: a reproducibility benchmark suite for introspective variational autoencoders."""

import sys

__version__ = "0.1.0"


class SintroError(Exception):
    """What the user can mend: one clear line that says what was wrong, where, and what is legal.

    The command line prints it as ``error: ...`` and exits with code 2, without a traceback.
    """


class PassingError(SintroError):
    """What may be gone at the next try, here or elsewhere: another process in the way, a node without a GPU."""


# The stable name of `sintro.cells.presets`, for whoever calls the library from outside.
from sintro.cells import presets  # noqa: E402

sys.modules["sintro.presets"] = presets
