"""The judgement: what to do, whether it may be done, what comes next, and what to say about it.

Pure functions over plain data: no clock (time is an argument), no cluster, no logging.
"""
