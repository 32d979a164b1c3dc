"""How much of kdet the tests hold: lines are made wrong one at a time, and the tests have to notice.

`__main__` is the command, `sites` finds what can be made wrong, `reach` knows which tests execute a line,
`forks` runs tests in processes that have TensorFlow imported already, `equivalents` reads the list of
mutants that change nothing, `report` writes the results. `kernels` does the same for the C++ kernels.

Why not a library: mutmut changes bodies of undecorated functions only (no defaults, no constants of modules
and classes), wraps every function, whose signatures the registry reads, and draws no sample; cosmic-ray
starts a process per mutant, and TensorFlow's import alone takes five seconds.
"""
