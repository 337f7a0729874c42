"""What adapters share and no toolbox is needed for: errors, checkpoints, evaluation, result files."""
