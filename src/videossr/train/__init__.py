"""Training a policy: a supervised warm start, then GRPO. `grpo.py` names the files in the order of a step."""
