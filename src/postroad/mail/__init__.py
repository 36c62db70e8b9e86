"""What is true about mail: pure functions over frozen values.

Nothing here reads a clock, a file, a socket or a random source; times, ids and
chance are arguments. Imports the standard library and `idna` alone.
"""
