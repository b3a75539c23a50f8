"""The repertoire: one module a verb, each declaring its parameters, rights, plan, settlement and undo.

Actions read through the ``Reader`` they are given and return requests; the engine sends them.
"""
