"""The same workflow without a shared disk: every output goes through an object store, by Snakemake's storage plugin."""

from pathlib import Path

import boto3

STORE = ["--default-storage-provider", "s3", "--default-storage-prefix"]
# Jobs share the workflow and the Python, but no outputs.
SHARED = ["--shared-fs-usage", "persistence", "sources", "source-cache", "software-deployment"]
WORDS = [*STORE, "s3://rides/weekly", *SHARED, "--", "all"]


def stored(server: str, prefix: str) -> dict[str, bytes]:
    """Return the objects below a prefix of the bucket `rides`, but for logs, which hold times."""
    client = boto3.client("s3", endpoint_url=server, aws_access_key_id="signoff", aws_secret_access_key="signoff")
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="rides", Prefix=prefix)["Contents"]]
    found = {key.removeprefix(prefix): client.get_object(Bucket="rides", Key=key)["Body"].read() for key in keys}
    return {path: content for path, content in found.items() if not path.startswith("logs/")}


def test_outputs_in_an_object_store_are_the_same_bytes(project, finished_run, s3_server, monkeypatch):
    for name, value in {"ENDPOINT_URL": s3_server, "ACCESS_KEY": "signoff", "SECRET_KEY": "signoff"}.items():
        monkeypatch.setenv(f"SNAKEMAKE_STORAGE_S3_{name}", value)
    # A week before, with another threshold: what is there already is made anew.
    project.configure(thresholds={"mae_max": 9, "r2_min": 0.5})
    done = project.snakemake(*WORDS)
    assert "Verdict     passed" in done.stdout.splitlines() and "mae_max 9: MAE is" in done.stdout
    before = stored(s3_server, "weekly/")
    project.configure()
    assert "mae_max 10: MAE is" in project.snakemake(*WORDS, "reports/final_report.md").stdout
    assert not project.contents()
    # What only spares a second reading of a file stays where it was made.
    here = {path: each for path, each in finished_run.contents().items() if not Path(path).name.startswith(".")}
    there = stored(s3_server, "weekly/")
    # The path of the source and the file's own time.
    assert there.pop("data/raw/raw_data.json") != here.pop("data/raw/raw_data.json")
    assert there == here
    assert {path for path in before if path in there and before[path] != there[path]} == {
        "reports/evaluation_metrics.json"
    }
    assert "Nothing to be done" in project.snakemake(*WORDS, "reports/final_report.md").stdout
