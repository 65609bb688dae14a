rule report:
    input:
        metrics_of,
    output:
        report("reports/{study}/index.html", caption="../report/study.rst", category="pages"),
    log:
        "logs/{study}/report.log",
    message:
        "write the pages of study {wildcards.study}"
    shell:
        "{SINTRO} report {wildcards.study} > {log} 2>&1"


# Writing a study's pages writes the index of all studies too; this is for an index that was lost.
rule index:
    input:
        f"reports/{STUDY}/index.html",
    output:
        update("reports/index.html"),
    log:
        "logs/index.log",
    message:
        "reports/index.html is up to date"
    shell:
        "(test -s {output} || {SINTRO} report {STUDY}) > {log} 2>&1"
