"""The hands: the only room that talks to the Kubernetes API.

Raw JSON in, patches out; API errors become faults here and nowhere else.
"""
