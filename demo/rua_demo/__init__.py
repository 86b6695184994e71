"""`rua demo` and `rua up`: the whole product on one machine, simulated platforms, and the judge of a run."""
