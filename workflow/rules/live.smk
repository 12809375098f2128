# After a release: how right it was
rule live_record:
    """Compare what the releases have predicted with what then happened: snakemake reports/live.json"""
    input:
        script=script("live_record"),
        helpers=helpers("live_record"),
        raw=parts.of_all("data/raw/parts/{part}.csv") if settings.data.partition_by else "data/raw/raw_data.csv",
        cleaned="data/processed/cleaned_data.json",
        release=place.released("sign_off.json"),
    output:
        json=update("reports/live.json"),
        csv=update("reports/live.csv"),
    log:
        "logs/live_record.log",
    benchmark:
        "logs/benchmarks/live_record.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            target=settings.target,
            key=settings.scoring.key,
            mae_max=settings.live.mae_max,
            coverage_min=settings.live.coverage_min,
            # One of many models has its own config in its folder.
            config=[] if place.folder else workflow.configfiles,
        ),
        folder=lambda wildcards: words(folder=place.of(wildcards) or None),
        raw=lambda wildcards, input: words(raw=[input.raw] if isinstance(input.raw, str) else list(input.raw)),
        # As inputs, predictions with an earlier release would be replaced by new ones.
        predictions=place.predictions,
    shell:
        "python {input.script:q} --cleaned={input.cleaned:q} --output={output.json:q} {params.options} {params.folder}"
        " {params.raw} --log={log:q}"
