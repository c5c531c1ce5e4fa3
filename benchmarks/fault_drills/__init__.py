"""The drills of benchmarks/fault_drill.py, grouped by the kind of fault."""
