# The source, split into parts of the data, or into the rows of each model
SPLIT_BY = PARTITION_BY or config["models"]["by"]
IS_PERIOD = PARTITION_BY in ("week", "month")


# A checkpoint, since only the data say which parts there are.
checkpoint split_source:
    """Give each part of the source its rows; those of a part that has not changed stay as they are"""
    input:
        script=script("split_source"),
        helpers=helpers("split_source"),
    output:
        # The pieces lie in data/source, and no rule may delete those that have not changed.
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
        version=source_version,
        options=flags(
            input=config["raw_data_source_url"],
            target=config["target"],
            by=SPLIT_BY if IS_PERIOD else "value",
            column=config["time_column"] if IS_PERIOD else SPLIT_BY,
            date_format=DATE_FORMATS.get(config["time_column"]) if IS_PERIOD else None,
            **config["reader"],
        ),
    shell:
        "python {input.script:q} {params.options} --output={output.record:q} --log={log:q}"
