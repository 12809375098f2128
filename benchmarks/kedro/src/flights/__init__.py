"""The steps of the workflow as a Kedro project."""
