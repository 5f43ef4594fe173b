"""Arms, objectives, events, features, encoders, policies, exploration and artifacts.

The ground floor: no network, no web framework. Both the service (`router`) and the policy-training
command line (`training`) stand on it; it knows neither.
"""
