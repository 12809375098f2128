# With data.partition_by, each part is ingested, validated and cleaned by itself, and so are its features


ruleorder: split_source > ingest_data


use rule ingest_data as ingest_part with:
    input:
        script=script("ingest_data"),
        helpers=code.digests("ingest_data"),
        pieces=parts.pieces,
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
        # The pieces are inputs.
        version=None,
        source=lambda wildcards: words(input=f"data/source/{wildcards.part}"),
        options=flags(max_bytes=settings.reader.max_bytes),


# These rows decide, for all parts, the types of the columns and which columns become features.
use rule clean_data as clean_first_rows with:
    input:
        script=script("clean_data"),
        helpers=helpers("clean_data"),
        raw=parts.once_split("data/source/first_rows.csv"),
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
        cleaned=parts.once_split("data/processed/first_rows.csv"),
        counts=parts.once_split("data/processed/first_rows.json"),
        custom=on_disk(settings.features.custom),
    output:
        csv=update("data/features/first_rows.csv"),
        description=update("data/features/first_rows.json"),
    log:
        "logs/choose_features.log",
    benchmark:
        "logs/benchmarks/choose_features.tsv"
    params:
        # All of them may be in the last weeks.
        options=more_flags(rules.feature_engineering, test_weeks=0),


use rule validate_data as validate_part with:
    input:
        script=script("validate_data"),
        helpers=code.digests("validate_data"),
        raw="data/raw/parts/{part}.csv",
        like="data/processed/first_rows.json",
        contract=on_disk(settings.validation.schema),
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
        helpers=code.digests("clean_data"),
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
        helpers=code.digests("feature_engineering"),
        cleaned="data/processed/parts/{part}.csv",
        counts="data/processed/parts/{part}.json",
        like="data/features/first_rows.json",
        custom=on_disk(settings.features.custom),
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
        options=flags(like="data/features/first_rows.json", custom=settings.features.custom),


# The rules above are for those who ask for a file of one part. A run makes many parts in one process.
rule parts_chunk:
    """Ingest, validate and clean some parts, and compute their features, in one process; each has its own logs"""
    input:
        script=script("tasks_chunk"),
        helpers=helpers("tasks_chunk"),
        # The plan, and what its tasks read.
        plan=part_chunks.inputs,
    output:
        update("data/.chunks/{chunk}.json"),
    log:
        "logs/parts_chunk/{chunk}.log",
    benchmark:
        "logs/benchmarks/parts_chunk/{chunk}.tsv"
    wildcard_constraints:
        chunk=r"\d+",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000, all_rows=True),
        runtime=minutes(60),
    params:
        # With the input, so that Snakemake does not take a forced run for a change.
        options=lambda wildcards, input: words(force="yes" if part_chunks.forced() else None),
    shell:
        "python {input.script:q} --plan={input.plan[0]:q} --output={output:q} {params.options} --log={log:q}"
