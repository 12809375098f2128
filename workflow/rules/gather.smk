# With data.partition_by, tables are gathered from the parts
ruleorder: gather_raw > ingest_data
ruleorder: gather_validation > validate_data
ruleorder: gather_cleaned > clean_data
ruleorder: gather_features > feature_engineering
ruleorder: sample_parts > sample_features


rule gather_raw:
    """Gather the raw data of all parts in one file: snakemake data/raw/raw_data.csv"""
    input:
        script=script("gather"),
        helpers=helpers("gather"),
        plan="data/raw/raw_data.json",
        parts=part_chunks.markers,
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
        parts=part_chunks.markers,
        contract=on_disk(settings.validation.schema),
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
        options=flags(
            input="reports/validation",
            schema=settings.validation.schema,
            time_column=settings.time_column,
            find_time=settings.find_time,
        ),


use rule gather_raw as gather_cleaned with:
    input:
        script=script("gather"),
        helpers=helpers("gather"),
        plan="data/raw/raw_data.json",
        parts=part_chunks.markers,
    output:
        update("data/processed/cleaned_data.csv"),
        update("data/processed/cleaned_data.json"),
    log:
        "logs/gather_cleaned.log",
    benchmark:
        "logs/benchmarks/gather_cleaned.tsv"
    params:
        options=flags(input="data/processed/parts", max_rows_lost=settings.cleaning.max_rows_lost),


rule gather_features:
    """Gather the features of all parts in one file, for a model that is trained on all of them"""
    input:
        script=script("gather_features"),
        helpers=helpers("gather_features"),
        plan="data/raw/raw_data.json",
        like="data/features/first_rows.json",
        parts=part_chunks.markers,
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
            max_rows_lost=settings.cleaning.max_rows_lost,
            test_weeks=settings.split.test_weeks,
            test_share=settings.split.test_share,
        ),
    shell:
        "python {input.script:q} {params.options} --output={output.csv:q} --log={log:q}"


# With model.max_rows, the rows are drawn from the parts, and nothing has to be gathered.
use rule gather_features as sample_parts with:
    output:
        csv=update("data/features/sample.csv"),
        description=update("data/features/sample.json"),
    log:
        "logs/sample_parts.log",
    benchmark:
        "logs/benchmarks/sample_parts.tsv"
    params:
        options=more_flags(rules.gather_features, max_rows=settings.model.max_rows),
