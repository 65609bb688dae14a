import signal

from sintro import preemption

# A Slurm job that is warned is warned as a whole. Snakemake and the shell would die of it before the training inside has
# written its checkpoint: the one lets it pass, the other makes way by `exec`.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
preemption.ends_a_job()


def gpus(wildcards):
    image = Cell.from_path(f"results/{wildcards.cell}").dataset in IMAGES
    return int({"images": image, "all": True, "none": False}[config["gpus"]])


def data(wildcards):
    dataset = Cell.from_path(f"results/{wildcards.cell}").dataset
    if dataset not in IMAGES or dataset == "digits":  # drawn from a formula, or embedded
        return []
    # FID's weights are missed now, not when the cell has trained for a day.
    return [ancient(f"{DATA}/{name}.lock.json") for name in (dataset, "inception")]


# The one declared output is what training writes last. It is there for a diverged cell too, which is a result;
# the checkpoint is not declared, so Snakemake never deletes it and a run that was stopped goes on from it.
rule train:
    input:
        data,
    output:
        "results/{cell}/provenance.json",
    params:
        digest=lambda wildcards: studies.settings(Cell.from_path(f"results/{wildcards.cell}")).digest,
    log:
        "logs/{cell}/train.log",
    threads: config["threads"]
    resources:
        gpu=gpus,
    message:
        "train results/{wildcards.cell}"
    shell:
        "exec {SINTRO} train results/{wildcards.cell} --device {config[device]} --threads {threads} > {log} 2>&1"
