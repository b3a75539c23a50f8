"""The heartbeat: observe, decide, record the intent, act, record the result, settle.

One look at one Incident at a time; everything that must outlive the process is in its status.
"""
