# After a person's decision: the release, its predictions, and how right they were
CHAMPION = None if place.folder else Releases().current()


rule live_record:
    """Compare what the releases have predicted with what then happened: snakemake reports/live.json"""
    input:
        script=script("live_record"),
        helpers=helpers("live_record"),
        raw=part_chunks.markers if settings.data.partition_by else "data/raw/raw_data.csv",
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
        raw=lambda wildcards, input: words(raw=parts.raw() if settings.data.partition_by else [input.raw]),
        # As inputs, predictions with an earlier release would be replaced by new ones.
        predictions=place.predictions,
    shell:
        "python {input.script:q} --cleaned={input.cleaned:q} --output={output.json:q} {params.options} {params.folder}"
        " {params.raw} --log={log:q}"


# Each of many models is released from its own folder.
if not place.folder:

    rule deploy:
        """Release the model that was signed off: snakemake deploy"""
        input:
            script=script("deploy"),
            helpers=helpers("deploy"),
            # If it is missing, the script says who has to sign off.
            sign_off=local("reports/sign_off.json") if Path("reports/sign_off.json").exists() else [],
        log:
            "logs/deploy.log",
        # No benchmark: its file would be an output, and a rule whose output exists does not run again.
        localrule: True
        conda:
            "../../environment.yml"
        params:
            options=flags(config=workflow.configfiles),
        shell:
            "python {input.script:q} {params.options} --log={log:q}"

    rule predict:
        """Score data/batches/BATCH.csv with the current release: snakemake predictions/BATCH.csv"""
        input:
            script=script("predict"),
            helpers=helpers("predict"),
            batch=batch_file,
            release=local(f"deployed/releases/{CHAMPION}/sign_off.json") if CHAMPION else [],
        output:
            scored=update("predictions/{batch}.csv"),
            rejected=update("predictions/{batch}.rejected.csv"),
            report=update("predictions/{batch}.report.json"),
        log:
            "logs/predict/{batch}.log",
        benchmark:
            "logs/benchmarks/predict/{batch}.tsv"
        wildcard_constraints:
            batch=r".*(?<!\.rejected)",
        conda:
            "../../environment.yml"
        resources:
            mem_mb=memory(1000),
            runtime=minutes(60),
        params:
            # The script reads in the history which release is current.
            options=flags(
                config=workflow.configfiles,
                columns=settings.scoring.columns,
                on_drift=settings.scoring.on_drift,
                reasons=settings.scoring.reasons,
                history=settings.scoring.history,
                delimiter=settings.reader.delimiter,
                encoding=settings.reader.encoding,
                decimal=settings.reader.decimal,
                missing=settings.reader.missing,
                allowed_signers=settings.release.allowed_signers,
                required_approvals=settings.release.required_approvals,
            ),
            # As an input, it could be rebuilt from the source.
            history=state_of_batch(settings.scoring.history),
        shell:
            "python {input.script:q} --input={input.batch:q} --output={output.scored:q} --rejected={output.rejected:q}"
            " {params.options} --log={log:q}"
