# The data: from the source to a checked and cleaned table


rule ingest_data:
    """Bring the source to data/raw, whole and checked to be a table"""
    input:
        script=script("ingest_data"),
        helpers=helpers("ingest_data"),
        pieces=pieces,
    output:
        csv=update("data/raw/raw_data.csv"),
        record=update("data/raw/raw_data.json"),
    log:
        "logs/ingest_data.log",
    benchmark:
        "logs/benchmarks/ingest_data.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        version=source_version,
        options=flags(target=config["target"], **config["reader"]),
        # No other brace in it is ours: ${NAME} is a variable of the environment.
        source=lambda wildcards: words(
            input=config["raw_data_source_url"].replace("{model}", wildcards.get("model", "{model}"))
        ),
    shell:
        "python {input.script:q} {params.source} {params.options} --output={output.csv:q} --log={log:q}"


rule validate_data:
    """Check the raw data against the data contract, and profile every column"""
    input:
        script=script("validate_data"),
        helpers=helpers("validate_data"),
        raw="data/raw/raw_data.csv",
        contract=on_disk(CONTRACT),
    output:
        report(
            update("reports/validation_report.json"),
            caption="../report/validation.rst",
            category="Data",
        ),
    log:
        "logs/validate_data.log",
    benchmark:
        "logs/benchmarks/validate_data.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000, all_rows=contract.looks_at_all_rows(RULES)),
        runtime=minutes(60),
    params:
        options=flags(schema=CONTRACT, time_column=PAST_ONLY),
    # Cleaning, which begins at the same time, is what the next task waits for: it goes first.
    shell:
        "nice python {input.script:q} --input={input.raw:q} --output={output:q} {params.options} --log={log:q}"


rule clean_data:
    """Drop, fill or leave what is missing"""
    input:
        script=script("clean_data"),
        helpers=helpers("clean_data"),
        raw="data/raw/raw_data.csv",
    output:
        csv=update("data/processed/cleaned_data.csv"),
        counts=update("data/processed/cleaned_data.json"),
    log:
        "logs/clean_data.log",
    benchmark:
        "logs/benchmarks/clean_data.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            kinds=KINDS,
            date_formats=DATE_FORMATS,
            time_column=PAST_ONLY,
            required=[each for each in (config["target"], config["time_column"]) if each],
            policies=config["cleaning"]["columns"],
            default_policy=config["cleaning"]["default"],
            duplicates=config["cleaning"]["duplicates"],
            max_rows_lost=config["cleaning"]["max_rows_lost"],
        ),
    shell:
        "python {input.script:q} --input={input.raw:q} --output={output.csv:q} {params.options} --log={log:q}"


rule feature_engineering:
    """Make each row's features, and say which rows train and which test"""
    input:
        script=script("feature_engineering"),
        helpers=helpers("feature_engineering"),
        cleaned="data/processed/cleaned_data.csv",
        counts="data/processed/cleaned_data.json",
        custom=on_disk(config["features"]["custom"]),
    output:
        csv=update("data/features/features.csv"),
        description=update("data/features/features.json"),
    log:
        "logs/feature_engineering.log",
    benchmark:
        "logs/benchmarks/feature_engineering.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000, all_rows=config["features"]["custom"]),
        runtime=minutes(60),
    params:
        options=flags(
            target=config["target"],
            time_column=config["time_column"],
            drop=config["features"]["drop"],
            keep=config["features"]["keep"],
            not_before=config["features"]["not_before"],
            date_parts=config["features"]["date_parts"] or [""],
            derived=config["features"]["derived"],
            split_by=config["split"]["by"],
            test_weeks=config["split"]["test_weeks"],
            test_share=config["split"]["test_share"],
            split_key=config["split"]["key"],
            custom=config["features"]["custom"],
            custom_mode=config["features"]["custom_mode"] if config["features"]["custom"] else None,
        ),
    shell:
        "python {input.script:q} --input={input.cleaned:q} --output={output.csv:q} {params.options} --log={log:q}"


rule sample_features:
    """Draw the rows that model.max_rows allows: the same ones in every run"""
    input:
        script=script("gather_features"),
        helpers=helpers("gather_features"),
        features="data/features/features.csv",
        description="data/features/features.json",
    output:
        csv=update("data/features/sample.csv"),
        description=update("data/features/sample.json"),
    log:
        "logs/sample_features.log",
    benchmark:
        "logs/benchmarks/sample_features.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(max_rows=config["model"]["max_rows"]),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.csv:q} {params.options} --log={log:q}"
