"""The policy-training command line: export, import, fit, off-policy evaluation, the gate."""
