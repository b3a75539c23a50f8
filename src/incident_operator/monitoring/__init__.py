"""The Prometheus servers of the configuration: what they measure, and which alerts fire there."""
