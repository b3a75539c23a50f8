"""HTTP of our own: what kubelet and Prometheus ask.

Answers from what others hand in; looks at no cluster and changes nothing.
"""
