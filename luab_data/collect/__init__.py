"""luab-collect: the annotation tasks of the paper with a back end, logging what nobody logs.

A study is a folder: study.toml, which says what is asked, and a database of what people did. It
writes the open log of views/log.py.
"""
