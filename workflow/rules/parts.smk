# With data.partition_by, each part is ingested, validated, cleaned and featurised by itself


ruleorder: split_source > ingest_data


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
