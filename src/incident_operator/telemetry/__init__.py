"""What is told about the program itself: metrics and logs.

Knows neither the cluster nor kopf; others hand it numbers and words.
"""
