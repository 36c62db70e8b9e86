"""How a message moves: a small async engine that knows the world only through `ports`.

intake takes it in, the scheduler says what is due, destinations say where it goes,
a site sends it, the ledger writes down what came of it, bounces tell the sender.
"""
