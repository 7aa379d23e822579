"""Many runs: the list of methods, one run with its analysis, the store, and the report."""
