"""The paper's ablations: which runs they consist of, and their tables.

`variants` plans the runs as changes of the run in `params.yaml`, `results` reads what they left and compares them,
`page` and `chart` show it. `flows/ablate.py` runs them as DVC experiments.
"""
