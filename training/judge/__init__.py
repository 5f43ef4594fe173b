"""What a policy is worth: true values on outcomes, off-policy estimates on logs, the gate."""
