"""Outages of an application with real state: how each is caused, declared, watched and proved.

The demo plays one of them; the end-to-end tests play all, with an operator of their own. Imports no room but the lab.
"""

NAMES = ("restore", "failover", "corruption", "everything", "halted", "killed")
"""The scenarios by name; the first is what ``make demo-outage`` plays."""
