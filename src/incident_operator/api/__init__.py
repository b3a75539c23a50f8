"""The words: models of the kinds, names, reasons, and how CRDs are made from them.

Knows nobody: no clock, no cluster, no other room but ``faults``.
"""
