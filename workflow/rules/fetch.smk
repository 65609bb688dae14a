import hashlib
import os

from sintro.data import sources

DATA = sources.data_root()
# What says that a data set was looked at lies beside the results, one for each data root, which may be read-only.
FETCHED = "results/.fetched/" + hashlib.sha256(os.path.abspath(DATA).encode()).hexdigest()[:12]


def fetched(dataset):
    """The file that says that a data set is there. Earlier versions left a lock file beside the data: it still counts."""
    lock = sources.lock_path(dataset, DATA)
    return str(lock) if os.path.exists(lock) else f"{FETCHED}/{dataset}"


# The one step that uses a network, on the node where snakemake runs. It takes what lies on this machine first.
# FID's weights are tried for with it. Without them cells are measured by the data set's own classifier (which training
# says before it starts): their absence stops nothing.
rule fetch:
    localrule: True
    output:
        touch(FETCHED + "/{dataset}"),
    wildcard_constraints:
        dataset="|".join(name for name, one in datasets("images").items() if one.fetched),
    log:
        "logs/fetch-{dataset}.log",
    message:
        "fetch {wildcards.dataset}"
    shell:
        "{SINTRO} fetch {wildcards.dataset} > {log} 2>&1 && ({SINTRO} fetch inception >> {log} 2>&1 || true)"
