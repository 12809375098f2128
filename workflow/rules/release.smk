# After a person's decision, the release and its predictions
CHAMPION = Releases().current()


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
            delimiter=settings.reader["delimiter"],
            encoding=settings.reader["encoding"],
            decimal=settings.reader["decimal"],
            missing=settings.reader["missing"],
            allowed_signers=settings.release.allowed_signers,
            required_approvals=settings.release.required_approvals,
        ),
        # As an input, it could be rebuilt from the source.
        history=state_of(settings.scoring.history),
    shell:
        "python {input.script:q} --input={input.batch:q} --output={output.scored:q} --rejected={output.rejected:q}"
        " {params.options} --log={log:q}"
