# The data in parts: with data.partition_by, each part is ingested, validated, cleaned and featurised by itself


# What is one table else is gathered here.
ruleorder: split_source > ingest_data
ruleorder: gather_raw > ingest_data
ruleorder: gather_validation > validate_data
ruleorder: gather_cleaned > clean_data
ruleorder: gather_features > feature_engineering
ruleorder: sample_parts > sample_features


use rule ingest_data as ingest_part with:
    input:
        script=script("ingest_data"),
        helpers=code_of("ingest_data"),
        pieces=lambda wildcards: [
            f"data/source/{wildcards.part}/{piece}" for piece in part_plan()["parts"][wildcards.part]["pieces"]
        ],
    output:
        csv=update("data/raw/parts/{part}.csv"),
        record=update("data/raw/parts/{part}.json"),
    log:
        "logs/ingest_part/{part}.log",
    benchmark:
        "logs/benchmarks/ingest_part/{part}.tsv"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(10),
    params:
        # The pieces tell what is new.
        version=None,
        source=lambda wildcards: words(input=f"data/source/{wildcards.part}"),
        options=flags(max_bytes=config["reader"]["max_bytes"]),


# By these rows it is decided once what the columns are, and which become features, in all parts alike.
use rule clean_data as clean_first_rows with:
    input:
        script=script("clean_data"),
        helpers=helpers("clean_data"),
        raw=once_split("data/source/first_rows.csv"),
    output:
        csv=update("data/processed/first_rows.csv"),
        counts=update("data/processed/first_rows.json"),
    log:
        "logs/clean_first_rows.log",
    benchmark:
        "logs/benchmarks/clean_first_rows.tsv"


use rule feature_engineering as choose_features with:
    input:
        script=script("feature_engineering"),
        helpers=helpers("feature_engineering"),
        cleaned=once_split("data/processed/first_rows.csv"),
        counts=once_split("data/processed/first_rows.json"),
        custom=on_disk(config["features"]["custom"]),
    output:
        csv=update("data/features/first_rows.csv"),
        description=update("data/features/first_rows.json"),
    log:
        "logs/choose_features.log",
    benchmark:
        "logs/benchmarks/choose_features.tsv"
    params:
        # They may all lie in the last weeks.
        options=more_flags(rules.feature_engineering, test_weeks=0),


use rule validate_data as validate_part with:
    input:
        script=script("validate_data"),
        helpers=code_of("validate_data"),
        raw="data/raw/parts/{part}.csv",
        like="data/processed/first_rows.json",
        contract=on_disk(CONTRACT),
    output:
        update("reports/validation/{part}.json"),
    log:
        "logs/validate_part/{part}.log",
    benchmark:
        "logs/benchmarks/validate_part/{part}.tsv"
    resources:
        mem_mb=memory(1000, all_rows=True),
        runtime=minutes(10),
    params:
        options=more_flags(rules.validate_data, like="data/processed/first_rows.json"),


use rule clean_data as clean_part with:
    input:
        script=script("clean_data"),
        helpers=code_of("clean_data"),
        raw="data/raw/parts/{part}.csv",
        like="data/processed/first_rows.json",
    output:
        csv=update("data/processed/parts/{part}.csv"),
        counts=update("data/processed/parts/{part}.json"),
    log:
        "logs/clean_part/{part}.log",
    benchmark:
        "logs/benchmarks/clean_part/{part}.tsv"
    resources:
        mem_mb=memory(1000, all_rows=True),
        runtime=minutes(10),
    params:
        options=more_flags(rules.clean_data, like="data/processed/first_rows.json"),


use rule feature_engineering as feature_part with:
    input:
        script=script("feature_engineering"),
        helpers=code_of("feature_engineering"),
        cleaned="data/processed/parts/{part}.csv",
        counts="data/processed/parts/{part}.json",
        like="data/features/first_rows.json",
        custom=on_disk(config["features"]["custom"]),
    output:
        csv=update("data/features/parts/{part}.csv"),
        description=update("data/features/parts/{part}.json"),
    log:
        "logs/feature_part/{part}.log",
    benchmark:
        "logs/benchmarks/feature_part/{part}.tsv"
    resources:
        mem_mb=memory(1000, all_rows=True),
        runtime=minutes(10),
    params:
        options=flags(like="data/features/first_rows.json", custom=config["features"]["custom"]),


rule gather_raw:
    """The raw data of all parts as one file: snakemake data/raw/raw_data.csv"""
    input:
        script=script("gather"),
        helpers=helpers("gather"),
        plan="data/raw/raw_data.json",
        parts=of_all_parts("data/raw/parts/{part}.csv"),
    output:
        update("data/raw/raw_data.csv"),
    log:
        "logs/gather_raw.log",
    benchmark:
        "logs/benchmarks/gather_raw.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(input="data/raw/parts"),
    shell:
        "python {input.script:q} --plan={input.plan:q} {params.options} --output={output[0]:q} --log={log:q}"


use rule gather_raw as gather_validation with:
    input:
        script=script("gather"),
        helpers=helpers("gather"),
        plan="data/raw/raw_data.json",
        parts=of_all_parts("reports/validation/{part}.json"),
    output:
        report(
            update("reports/validation_report.json"),
            caption="../report/validation.rst",
            category="Data",
        ),
    log:
        "logs/gather_validation.log",
    benchmark:
        "logs/benchmarks/gather_validation.tsv"
    params:
        options=flags(input="reports/validation"),


use rule gather_raw as gather_cleaned with:
    input:
        script=script("gather"),
        helpers=helpers("gather"),
        plan="data/raw/raw_data.json",
        parts=of_all_parts("data/processed/parts/{part}.csv", "data/processed/parts/{part}.json"),
    output:
        update("data/processed/cleaned_data.csv"),
        update("data/processed/cleaned_data.json"),
    log:
        "logs/gather_cleaned.log",
    benchmark:
        "logs/benchmarks/gather_cleaned.tsv"
    params:
        options=flags(input="data/processed/parts", max_rows_lost=config["cleaning"]["max_rows_lost"]),


rule gather_features:
    """The features of all parts as one file, for a model that is trained on all of them"""
    input:
        script=script("gather_features"),
        helpers=helpers("gather_features"),
        plan="data/raw/raw_data.json",
        like="data/features/first_rows.json",
        features=of_all_parts("data/features/parts/{part}.csv", "data/features/parts/{part}.json"),
        counts=of_all_parts("data/processed/parts/{part}.json"),
    output:
        csv=update("data/features/features.csv"),
        description=update("data/features/features.json"),
    log:
        "logs/gather_features.log",
    benchmark:
        "logs/benchmarks/gather_features.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            input="data/features/parts",
            plan="data/raw/raw_data.json",
            like="data/features/first_rows.json",
            cleaned="data/processed/parts",
            max_rows_lost=config["cleaning"]["max_rows_lost"],
            test_weeks=config["split"]["test_weeks"],
            test_share=config["split"]["test_share"],
        ),
    shell:
        "python {input.script:q} {params.options} --output={output.csv:q} --log={log:q}"


# With a budget, the rows are drawn from the parts: nothing has to be gathered.
use rule gather_features as sample_parts with:
    output:
        csv=update("data/features/sample.csv"),
        description=update("data/features/sample.json"),
    log:
        "logs/sample_parts.log",
    benchmark:
        "logs/benchmarks/sample_parts.tsv"
    params:
        options=more_flags(rules.gather_features, max_rows=config["model"]["max_rows"]),
