"""The drills of benchmarks/fault_drill.py, by what they disturb."""
