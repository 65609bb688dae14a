import os

DATA = os.environ.get("SINTRO_DATA", "data")


# The one step that uses a network, on the node where snakemake runs. The lock file is what it leaves beside the data.
# Without Inception's weights cells are measured too, by the data set's own classifier: their absence stops nothing.
rule fetch:
    localrule: True
    output:
        DATA + "/{dataset}.lock.json",
    wildcard_constraints:
        dataset="|".join([*(name for name in IMAGES if name != "digits"), "inception"]),  # FID's network is fetched too
    log:
        "logs/fetch-{dataset}.log",
    message:
        "fetch {wildcards.dataset}"
    shell:
        "{SINTRO} fetch {wildcards.dataset} > {log} 2>&1 && ({SINTRO} fetch inception >> {log} 2>&1 || true)"
