"""Many runs by papermill: profiles, run folders, notebooks, sweeps, reports, the command line."""

from mer_utils.batch.pipeline import run, sweep
