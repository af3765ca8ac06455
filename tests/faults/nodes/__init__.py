"""Batches over a Ray cluster of two nodes say what one process says, whichever node dies, and take half the time.

Run by hand from the repository:
`PYTHONPATH=tests/faults python -m nodes kills --runs 10 --seed 1` and `... python -m nodes speed --shards 12`.
"""

from querywright.service import ray_cluster  # noqa: F401 # before Ray: it says what Ray keeps to itself
