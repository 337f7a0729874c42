"""Code that both adapters use and that needs no toolbox: errors, checkpoints, evaluation, result files."""
