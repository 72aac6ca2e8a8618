"""Safety rules taken out one at a time: for each the named tests have to fail. `make mutants` runs them all."""
