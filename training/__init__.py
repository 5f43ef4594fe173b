"""The policy-training command line: log export, datasets, fitting, off-policy evaluation, the gate."""
