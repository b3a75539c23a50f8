"""The demo: a lab, an application, two incidents, and the proof that they were handled.

Uses what a user uses: the lab, kubectl, the shipped manifests and examples. Imports no room but the lab.
"""
