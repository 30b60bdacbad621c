"""`python -m luab_data` is `luab-data`."""

from luab_data.cli import run

run()
