"""The loop around the engine: watch, queue, re-list, supervise.

The only room that knows kopf, which is used to be told of changes and for nothing else.
"""
