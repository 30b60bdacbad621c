"""`python -m luab_train`, and `torchrun --nproc-per-node 8 -m luab_train run ...`."""

from luab_train.cli import main

main(prog_name="luab-train")
