# Seven rules in the shape of the workflow's that only copy files: what a run with nothing to do is measured beside.
rule all:
    input:
        "validation",
        "verdict",


rule ingest_data:
    input:
        "source",
    output:
        "raw",
    shell:
        "cp {input} {output}"


rule validate_data:
    input:
        "raw",
    output:
        "validation",
    shell:
        "cp {input} {output}"


rule clean_data:
    input:
        "raw",
    output:
        "cleaned",
    shell:
        "cp {input} {output}"


rule feature_engineering:
    input:
        "cleaned",
    output:
        "features",
    shell:
        "cp {input} {output}"


rule train_model:
    input:
        "features",
    output:
        "model",
    shell:
        "cp {input} {output}"


rule evaluate_model:
    input:
        "model",
        "features",
    output:
        "metrics",
    shell:
        "cp {input[0]} {output}"


rule verdict:
    input:
        "validation",
        "metrics",
    output:
        "verdict",
    shell:
        "cp {input[1]} {output}"
