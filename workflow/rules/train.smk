import signal

from sintro.runs import signals

# A Slurm job that is warned is warned as a whole. Snakemake and the shell would die of it before the training inside has
# written its checkpoint: the one lets it pass, the other makes way by `exec`.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signals.ends_a_job()


GRAPH = " --graph" if str(config["graph"]).lower() == "true" else ""


def gpus(wildcards):
    image = Cell.from_path(f"results/{wildcards.cell}").data.kind == "images"
    return int({"images": image, "all": True, "none": False}[config["gpus"]])


def data(wildcards):
    """Name the data that a cell trains on, and judge whether to train it, when Snakemake plans that."""
    cell = Cell.from_path(f"results/{wildcards.cell}")
    step = judge_cell(cell, "train")
    if not cell.data.fetched:
        return []
    there = fetched(cell.dataset, needed=step != "nothing")
    return there if is_forced("train", f"{cell.path}/provenance.json") else ancient(there)


# The one declared output is the file that training writes last; a diverged cell, which is a result, has it too. The
# checkpoint is not declared, so Snakemake never deletes it and a run that was stopped goes on from it.
rule train:
    input:
        data,
    output:
        "results/{cell}/provenance.json",
    log:
        "logs/{cell}/train.log",
    threads: config["threads"]
    resources:
        gpu=gpus,
    message:
        "train results/{wildcards.cell}"
    shell:
        "exec {SINTRO} train results/{wildcards.cell} --device {config[device]} --threads {threads}{GRAPH} > {log} 2>&1"


# Fleets: cells of equal shape that train side by side. A study as a whole waits for its fleets, and then asks for its
# cells, whose `sintro train` finds them trained; a cell that is asked for by itself knows nothing of fleets.
# `fleet: auto` is for GPUs: on other processors cells side by side train no faster, and could not go to several nodes.
PLANE_ON_GPUS = config["gpus"] == "all" or config["device"].startswith("cuda")


def untrained_fleets(study):
    """Name the study's fleets in which a cell is still to be trained."""
    known = studies.load(study)
    if known.fleet == "auto" and not PLANE_ON_GPUS:
        return []
    return [name for name, cells in fleets.of_study(known).items() if not all(map(results.is_trained, cells))]


rule fleet:
    output:
        touch("results/{study}/.fleets/{fleet}.done"),
    log:
        "logs/{study}/.fleets/{fleet}.log",
    threads: config["threads"]
    resources:
        gpu=int(PLANE_ON_GPUS),
    message:
        "train fleet {wildcards.fleet} of study {wildcards.study}"
    shell:
        "exec {SINTRO} fleet {wildcards.study} {wildcards.fleet} --device {config[device]} --threads {threads}{GRAPH} > {log} 2>&1"


# Only fleets in which a cell is to be trained are waited for; whether the others are trained, their cells say.
checkpoint fleets:
    input:
        lambda wildcards: [
            f"results/{wildcards.study}/.fleets/{name}.done" for name in untrained_fleets(wildcards.study)
        ],
    output:
        touch("results/{study}/.fleets/all"),
    message:
        "the fleets of study {wildcards.study} are trained"
