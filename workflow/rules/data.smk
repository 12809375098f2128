# The data, from the source to a checked and cleaned table and its features


rule ingest_data:
    """Copy the source to data/raw, complete and checked to be a table"""
    input:
        script=script("ingest_data"),
        helpers=helpers("ingest_data"),
        pieces=place.pieces,
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
        # Of pieces, each is an input.
        version=lambda wildcards: None if place.plan else origin.version,
        options=flags(target=settings.target, **vars(settings.reader)),
        # Only {model} is replaced: ${NAME} is an environment variable.
        source=lambda wildcards: words(
            input=settings.raw_data_source_url.replace("{model}", wildcards.get("model", "{model}"))
        ),
    shell:
        "python {input.script:q} {params.source} {params.options} --output={output.csv:q} --log={log:q}"


rule validate_data:
    """Check the raw data against the data contract, and profile every column"""
    input:
        script=script("validate_data"),
        helpers=helpers("validate_data"),
        raw="data/raw/raw_data.csv",
        contract=on_disk(settings.validation.schema),
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
        mem_mb=memory(1000, all_rows=contract.looks_at_all_rows),
        runtime=minutes(60),
    params:
        options=flags(schema=settings.validation.schema, time_column=settings.time_column, find_time=settings.find_time),
    # With nice, because cleaning begins at the same time, and the next task waits for cleaning.
    shell:
        "nice python {input.script:q} --input={input.raw:q} --output={output:q} {params.options} --log={log:q}"


rule clean_data:
    """Drop, fill or leave missing values"""
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
            kinds=contract.kinds,
            date_formats=contract.date_formats,
            time_column=settings.time_column,
            find_time=settings.find_time,
            past=contract.past,
            future=contract.future,
            required=settings.required_columns,
            policies=settings.cleaning.columns,
            default_policy=settings.cleaning.default,
            duplicates=settings.cleaning.duplicates,
            max_rows_lost=settings.cleaning.max_rows_lost,
        ),
    shell:
        "python {input.script:q} --input={input.raw:q} --output={output.csv:q} {params.options} --log={log:q}"


rule feature_engineering:
    """Compute the features of each row, and split the rows into training and held-out rows"""
    input:
        script=script("feature_engineering"),
        helpers=helpers("feature_engineering"),
        cleaned="data/processed/cleaned_data.csv",
        counts="data/processed/cleaned_data.json",
        custom=on_disk(settings.features.custom),
    output:
        csv=update("data/features/features.csv"),
        description=update("data/features/features.json"),
        # The earlier rows that predictions need.
        history=update("model/history.arrow") if settings.features.history else [],
    log:
        "logs/feature_engineering.log",
    benchmark:
        "logs/benchmarks/feature_engineering.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000, all_rows=settings.features.custom or settings.features.history),
        runtime=minutes(60),
    params:
        options=flags(
            target=settings.target,
            time_column=settings.time_column,
            drop=settings.features.drop,
            keep=settings.features.keep,
            text=settings.features.text,
            not_before=settings.features.not_before,
            date_parts=settings.features.date_parts or [""],
            derived=settings.features.derived,
            history=settings.features.history,
            split_by=settings.split.by,
            test_weeks=settings.split.test_weeks,
            test_share=settings.split.test_share,
            split_key=settings.split.key,
            split_groups=settings.split.groups,
            weight=settings.weight_column,
            custom=settings.features.custom,
            custom_mode=settings.features.custom_mode if settings.features.custom else None,
        ),
        state=lambda wildcards, output: words(state=output.get("history") or None),
    shell:
        "python {input.script:q} --input={input.cleaned:q} --output={output.csv:q} {params.options} {params.state}"
        " --log={log:q}"


rule sample_features:
    """Draw as many rows as model.max_rows allows, the same ones in every run"""
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
        options=flags(max_rows=settings.model.max_rows),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.csv:q} {params.options} --log={log:q}"
