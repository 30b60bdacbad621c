"""The embedded experiment: scenes in, the whole path from raw logs to a verdict in words out.

scenes -> simulated logs -> convert -> load -> train three arms -> evaluate -> table and figure.
"""
