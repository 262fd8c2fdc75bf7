"""`batman bench`: every system of the paper's tables, on the same bursts, side by side."""
