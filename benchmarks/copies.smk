# Seven rules in the shape of the workflow's that only copy files:
# what a run with nothing to do is measured beside.
MODELS = range(1)


rule all:
    input:
        expand("{model}/validation", model=MODELS),
        expand("{model}/verdict", model=MODELS),


rule ingest_data:
    input:
        "source",
    output:
        "{model}/raw",
    shell:
        "cp {input} {output}"


rule validate_data:
    input:
        "{model}/raw",
    output:
        "{model}/validation",
    shell:
        "cp {input} {output}"


rule clean_data:
    input:
        "{model}/raw",
    output:
        "{model}/cleaned",
    shell:
        "cp {input} {output}"


rule feature_engineering:
    input:
        "{model}/cleaned",
    output:
        "{model}/features",
    shell:
        "cp {input} {output}"


rule train_model:
    input:
        "{model}/features",
    output:
        "{model}/model",
    shell:
        "cp {input} {output}"


rule evaluate_model:
    input:
        "{model}/model",
        "{model}/features",
    output:
        "{model}/metrics",
    shell:
        "cp {input[0]} {output}"


rule verdict:
    input:
        "{model}/validation",
        "{model}/metrics",
    output:
        "{model}/verdict",
    shell:
        "cp {input[1]} {output}"
