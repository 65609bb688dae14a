"""How a job is stopped: by signals to a training, and by Slurm's pre-emption. Imports no torch."""

import functools
import signal
import sys
import threading


class StopSignals:
    """Remembers a signal that asks to stop, so that the loop can write a checkpoint after the present iteration.

    A cluster sends SIGTERM or SIGUSR1 before it takes a node back, Ctrl-C sends SIGINT, a closed terminal SIGHUP.
    A second Ctrl-C stops at once.
    """

    of_terminals = (signal.SIGINT, signal.SIGHUP)
    signals = (signal.SIGTERM, signal.SIGUSR1, *of_terminals)

    def __init__(self):
        self.caught: str | None = None

    def _remember(self, number, frame) -> None:
        if self.caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name

    def __enter__(self):
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set them
            for number in self.signals:
                # nohup, and `&` in a script, make a process ignore the terminal's signals; it stays so.
                if number not in self.of_terminals or signal.getsignal(number) != signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)


# --- pre-emption

PLUGIN = "snakemake_executor_plugin_slurm"


def ends_a_job() -> None:
    """Let Snakemake try a job again that Slurm pre-empted: tell its Slurm plugin that the job was cancelled.

    The plugin expects Slurm to resume a job in the state PREEMPTED, and would wait for it for ever. A job that Slurm
    does resume is PENDING again at once, so a job that stays PREEMPTED has ended. Does nothing where Snakemake has not
    loaded the plugin.
    """
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or hasattr(plugin.query_job_status, "__wrapped__"):
        return
    asked = plugin.query_job_status

    @functools.wraps(asked)
    async def query_job_status(*arguments, **options):
        states, seconds = await asked(*arguments, **options)
        states = states and {job: "CANCELLED" if state == "PREEMPTED" else state for job, state in states.items()}
        return states, seconds

    plugin.query_job_status = query_job_status
