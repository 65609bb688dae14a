"""A job that Slurm pre-empted is over, and Snakemake tries it again. Imports no torch.

Snakemake's plugin takes the state PREEMPTED for one that Slurm will resume, and would wait for the job for ever. A job
that Slurm does resume is PENDING again at once, so what stays PREEMPTED has ended.
"""

import functools
import sys

PLUGIN = "snakemake_executor_plugin_slurm"


def ends_a_job() -> None:
    """Tell the plugin, where Snakemake has loaded it, that a pre-empted job was cancelled."""
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
