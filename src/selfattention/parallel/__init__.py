"""One attention, several processes: by heads, around a ring, or with heads and tokens changing places.

    from selfattention.parallel.head_parallel import head_parallel
    from selfattention.parallel.ring import ring
    from selfattention.parallel.all_to_all import all_to_all

Every rank calls the same function with its own shard, on CPU over gloo, on CUDA over nccl. `links` is all
that any of them knows of `torch.distributed`. Try them:

    torchrun --standalone --nproc-per-node 2 -m selfattention.parallel
"""
