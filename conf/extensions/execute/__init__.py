"""Run what has changed, and nothing else."""
