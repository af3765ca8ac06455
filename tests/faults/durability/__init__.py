"""Collections lose nothing: kills, power cuts, damaged index files, failing disks, against a model in memory.

Run by hand from the repository, with the sizes that docs/reliability.md names:
`PYTHONPATH=tests/faults python -m durability kills --kills 1000 --seed 1`.
"""
