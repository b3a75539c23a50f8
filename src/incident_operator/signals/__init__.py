"""The ears: what Alertmanager, Prometheus, Sentry, Falco and scanners say, read into one word, the Signal.

Whatever a signal carries is text: it selects, it never executes.
"""
