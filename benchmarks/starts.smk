# The workflow's processes, in its order, each with what it imports and nothing else to do: what is left of a run when
# the work itself takes no time.
import sys

SCRIPTS = Path(workflow.basedir).parent / "scripts"
# By task: whom it waits for, and what it imports beside its script when it works.
TASKS = {
    "ingest_data": ([], ""),
    "validate_data": (["ingest_data"], ", pandera.pandas"),
    "clean_data": (["ingest_data"], ""),
    "feature_engineering": (["clean_data"], ""),
    "train_model": (["feature_engineering"], ", sklearn.ensemble"),
    "evaluate_model": (["train_model"], ", sklearn.compose, sklearn.ensemble"),
    "explain_model": (["train_model"], ", sklearn.ensemble"),
    "compare_model": (["evaluate_model"], ""),
    "diagnose": (["compare_model", "explain_model"], ""),
    "generate_report": (["diagnose"], ", matplotlib.backends.backend_svg"),
    "verdict": (["evaluate_model", "validate_data"], ""),
}


rule all:
    input:
        expand("started/{name}", name=TASKS),


for each, (before, more) in TASKS.items():

    rule:
        name:
            each
        input:
            expand("started/{name}", name=before),
        output:
            touch(f"started/{each}"),
        params:
            code=f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import {each}{more}",
            script=f"started/{each}.py",
        shell:
            "echo {params.code:q} > {params.script} && {sys.executable:q} {params.script}"
