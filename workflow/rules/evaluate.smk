rule evaluate:
    input:
        "results/{cell}/provenance.json",
    output:
        report(
            "results/{cell}/metrics.json",
            caption="../report/cell.rst",
            category=lambda wildcards: Cell.from_path(f"results/{wildcards.cell}").study,
            labels=lambda wildcards: dict(zip(PARTS[1:], wildcards.cell.split("/")[1:])),
        ),
    log:
        "logs/{cell}/evaluate.log",
    threads: config["threads"]
    resources:
        gpu=gpus,
    message:
        "evaluate results/{wildcards.cell}"
    shell:
        "{SINTRO} evaluate results/{wildcards.cell} --device {config[device]} --threads {threads} > {log} 2>&1"


rule choose:
    input:
        metrics_of,
    output:
        "results/{study}/chosen.json",
    log:
        "logs/{study}/choose.log",
    message:
        "choose the hyper-parameters of study {wildcards.study}"
    shell:
        "{SINTRO} choose {wildcards.study} > {log} 2>&1"
