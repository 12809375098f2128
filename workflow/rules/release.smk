# What follows a person's decision: the release, and predictions made with it


rule deploy:
    """Release the model that was signed off: snakemake deploy"""
    input:
        script=script("deploy"),
        helpers=helpers("deploy"),
        # Without one, the script says who is missing, in one line.
        sign_off=local("reports/sign_off.json") if Path("reports/sign_off.json").exists() else [],
    log:
        "logs/deploy.log",
    # No benchmark: its file would be an output, and with an output there the rule would not run again.
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
        batch="data/batches/{batch}.csv",
        release=local(f"deployed/releases/{CHAMPION}/sign_off.json") if CHAMPION else [],
    output:
        scored=update("predictions/{batch}.csv"),
        rejected=update("predictions/{batch}.rejected.csv"),
    log:
        "logs/predict/{batch}.log",
    benchmark:
        "logs/benchmarks/predict/{batch}.tsv"
    wildcard_constraints:
        batch=r".+(?<!\.rejected)",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        # Which release is in use, the script reads in the history: this is where the link led to.
        options=flags(
            config=workflow.configfiles,
            columns=config["scoring"]["columns"],
            delimiter=config["reader"]["delimiter"],
            encoding=config["reader"]["encoding"],
            decimal=config["reader"]["decimal"],
            missing=config["reader"]["missing"],
            allowed_signers=config["release"]["allowed_signers"],
            required_approvals=config["release"]["required_approvals"],
        ),
    shell:
        "python {input.script:q} --input={input.batch:q} --output={output.scored:q} --rejected={output.rejected:q}"
        " {params.options} --log={log:q}"
