"""The gates: one module a kind of check, each three-valued.

A check looks once and says Pass, Fail or Unknown; windows and deadlines are the engine's.
"""
