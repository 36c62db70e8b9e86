"""What the engine asks of the world, and the world of the engine, as Protocols in the engine's words.

Each file is one thing that is asked for. What the world provides has one real adapter and
a fake in `tests/support`; both pass the suite of the same name in `tests/contracts`.
`intake`, `rights` and `control` are the engine's own, for the doors to call; `logins` is
what one adapter asks of others. Adapters turn their library's exceptions into the values
and errors named here; nothing of a library passes.
"""
