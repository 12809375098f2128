# The source is split into parts of the data, or into the rows of each model
SPLIT_BY = settings.data.partition_by or settings.models.by
IS_PERIOD = settings.data.partition_by in ("week", "month")


# A checkpoint, since only the data contain the list of parts.
checkpoint split_source:
    """Split the source by part; files of a part that has not changed stay as they are"""
    input:
        script=script("split_source"),
        helpers=helpers("split_source"),
    output:
        # The files of the parts are in data/source. No rule may delete those that have not changed.
        record=update("data/raw/raw_data.json"),
    log:
        "logs/split_source.log",
    benchmark:
        "logs/benchmarks/split_source.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        version=lambda wildcards: origin.version,
        options=flags(
            input=settings.raw_data_source_url,
            target=settings.target,
            by=SPLIT_BY if IS_PERIOD else "value",
            column=settings.time_column if IS_PERIOD else SPLIT_BY,
            pool=settings.pool_column,
            min_rows=settings.models.min_rows,
            date_format=contract.date_formats.get(settings.time_column) if IS_PERIOD else None,
            **vars(settings.reader),
        ),
    shell:
        "python {input.script:q} {params.options} --output={output.record:q} --log={log:q}"
