"""One process that joins a job by the launcher it is told, and prints what it finds there."""

import json
import os
import sys

import torch
import torch.distributed as torch_dist

from mainspring import dist


def main(launcher, port):
    dist.init_dist(launcher, port=port, timeout=120)
    total = torch.tensor(dist.get_rank() + 1)
    dist.all_reduce(total)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    found = {name: os.environ[name] for name in names}
    print(json.dumps({**found, "total": total.item(), "local": [dist.get_local_rank(), dist.get_local_size()]}))
    torch_dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
