"""What Snakemake is told of a job that Slurm pre-empted."""

import asyncio
import inspect
import sys
from types import SimpleNamespace

import snakemake_executor_plugin_slurm as real
from snakemake_executor_plugin_slurm import Executor

from sintro.runs import signals


async def query_job_status(command, logger):
    return {"7": "PREEMPTED", "8": "RUNNING", "9": "COMPLETED"} if command == "squeue" else None, 0.1


def test_a_pre_empted_job_is_told_as_cancelled_and_nothing_else_is_changed(monkeypatch):
    plugin = SimpleNamespace(query_job_status=query_job_status)
    monkeypatch.setitem(sys.modules, signals.PLUGIN, plugin)
    signals.ends_a_job()
    once = plugin.query_job_status
    signals.ends_a_job()  # a Snakefile may be read twice
    assert plugin.query_job_status is once
    expected = {"7": "CANCELLED", "8": "RUNNING", "9": "COMPLETED"}
    assert asyncio.run(plugin.query_job_status("squeue", logger=None)) == (expected, 0.1)
    assert asyncio.run(plugin.query_job_status("fails", logger=None)) == (None, 0.1)


def test_without_the_plugin_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.delitem(sys.modules, signals.PLUGIN)
    signals.ends_a_job()
    assert signals.PLUGIN not in sys.modules


def test_the_plugin_asks_where_it_is_told():
    assert real.__name__ == signals.PLUGIN
    assert "query_job_status(" in inspect.getsource(Executor.check_active_jobs)
    assert inspect.iscoroutinefunction(real.query_job_status)
