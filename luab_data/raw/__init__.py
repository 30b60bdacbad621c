"""Stage 1: raw logs in, record batches out.

Enters: a tar.gz of XML files (ImageNet-AB) or a JSON array (COCO-AB), untrusted.
Leaves: Arrow tables with every raw field (`rounds`, `actions`), bad records told apart by a policy.
"""
