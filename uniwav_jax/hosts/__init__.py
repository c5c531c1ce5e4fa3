"""The processes of a run: they meet, agree, wait with a limit, and end together."""
