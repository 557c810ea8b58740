"""What "fast" means here: one file a scenario, each figure beside a ceiling taken in the same run."""
