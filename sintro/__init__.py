"""Sintro: a reproducibility benchmark suite for introspective variational autoencoders."""

__version__ = "0.1.0"


class SintroError(Exception):
    """What the user can mend: one clear line that says what was wrong, where, and what is legal.

    The command line prints it as ``error: ...`` and exits with code 2, without a traceback.
    """


class PassingError(SintroError):
    """What may be gone at the next try, here or elsewhere: another process in the way, a node without a GPU."""
