"""What tests that start long-lived processes share."""

import signal


def hear_ctrl_c() -> None:
    """For ``preexec_fn``: what a shell puts into the background ignores SIGINT, and so do its children; not here."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
