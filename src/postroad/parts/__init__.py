"""The parts of a daemon, built from a configuration: the one layer that knows engine and adapters both.

`build` makes and connects them; beside it what takes a decision of its own: `material`,
which a reload reads again, `index`, which must be that of its segments, and `logins`.
"""
