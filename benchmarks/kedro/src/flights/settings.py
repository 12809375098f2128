"""Kedro's own defaults."""
