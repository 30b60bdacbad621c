"""Images with boxes or masks in, raw logs in the releases' byte formats and their truth out.

Worker (habits, pointer) and tool (page, board) are separate: the worker only produces mouse
events, the tool decides what of them is logged. The truth file keeps what the tool does not log.
"""
