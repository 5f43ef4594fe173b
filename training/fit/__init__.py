"""Learning: reward models from outcomes, pseudo-outcomes and candidates from logs."""
