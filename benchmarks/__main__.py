"""Time and memory of everything that takes long: ``python -m benchmarks [NAME ...]``; ``--list`` names the rows.

Each row runs in a process of its own: warm-up, repeats, median and spread; the peak memory is the process's own, Python
and torch included. T is the time of a 2048 x 2048 x 2048 float32 matrix product with the same threads (without TF32 on
a GPU), 2 * 2048^3 = 17.2 GFLOP, taken before and after the row: figures in T carry over between machines. The share of
the floor is (FLOP / 17.2 GFLOP) / (time / T): 100% would be all arithmetic at the rate of a large matrix product.

``--json FILE`` keeps the figures, ``--against FILE`` compares with kept ones.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.image_metrics import IMAGES
from benchmarks.measuring import GROUPS, all_rows, measure
from benchmarks.training import Row
from sintro.basics.memory import keep_memory


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"rows, or groups: {', '.join(GROUPS)} (default: training)"
    )
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, help="instead of each row's own number")
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor seconds, for a machine that is busy otherwise"
    )
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="of the rows of image metrics (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="figures of an earlier run to compare with")
    options = parser.parse_args(arguments)
    known = all_rows()
    if options.list:
        print("\n".join(f"{name:26s} {row.what}" for name, row in known.items()))
        return
    names = [one for name in options.names or ["training"] for one in (GROUPS[name]() if name in GROUPS else [name])]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no row {', '.join(unknown)}; --list names them")
    earlier = json.loads(options.against.read_text())["rows"] if options.against else {}
    run(names, known, earlier, options)


def run(names: list[str], known: dict[str, Row], earlier: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure rows one after another and print each as it comes."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": torch.cuda.get_device_name()
        if options.device == "cuda"
        else platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "clock": "processor" if options.cpu_time else "wall",
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    context, found = multiprocessing.get_context("spawn"), {}
    for name in names:
        if known[name].needs == "cuda" and options.device != "cuda":
            print(f"{name:26s} needs a GPU", flush=True)
            continue
        result = context.Queue()
        arguments = (name, options.device, options.threads, options.repeats, options.cpu_time, options.images, result)
        process = context.Process(target=measure, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            print(f"{name:26s} failed", flush=True)
            continue
        found[name] = result.get()
        print(line(name, found[name], earlier.get(name)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(about | {"rows": found}, indent=1) + "\n")


def line(name: str, figures: dict[str, Any], earlier: dict[str, Any] | None) -> str:
    """Spell a row's figures, beside those of an earlier run."""
    milli = {key: 1e3 * figures[key] for key in ("seconds", "least", "most")}
    text = f"{name:26s} {milli['seconds']:10.2f} ms ({milli['least']:.2f} to {milli['most']:.2f}) {figures['T']:9.2f} T"
    if "floor_T" in figures:
        text += f", {100 * figures['floor_T'] / figures['T']:3.0f}% of the floor's rate"
    text += f", peak {figures['peak_mib']:.0f} MiB"
    if "device_peak_mib" in figures:
        text += f" and {figures['device_peak_mib']:.0f} MiB on the device"
    if earlier:
        text += f"; {figures['T'] / earlier['T']:.2f} of the earlier T"
    return text


if __name__ == "__main__":
    keep_memory()
    main()
