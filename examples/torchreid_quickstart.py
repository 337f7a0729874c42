"""OAMN in torchreid from the first line to its scores: register, train one epoch, look at the queries.

python examples/torchreid_quickstart.py                 # a few seconds on a CPU, tiny generated data
python examples/torchreid_quickstart.py --size demo --epochs 30

Read it as a notebook: every block is what a torchreid user writes anyway; new is `register()` and the engine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a clone without installation

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--root", default="datasets", help="folder of the data sets")
parser.add_argument("--size", default="tiny", choices=("tiny", "demo", "benchmark"), help="of the generated data set")
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--save-dir", default="log/torchreid_quickstart")
arguments = parser.parse_args()

import torch  # noqa: E402

from oamn_plugin.hosts.torchreid import ImageOAMNEngine, register  # noqa: E402
from oamn_plugin.occlusion import OCCLUSION_TYPES  # noqa: E402

# 1. Register. From here on torchreid knows the models and the occluded data sets.
register(input_size=(128, 64), preset="plus", embedded_size=arguments.size)

import torchreid  # noqa: E402

# 2. Data, model, optimiser, schedule: plain torchreid.
torchreid.utils.set_random_seed(1)
datamanager = torchreid.data.ImageDataManager(
    root=arguments.root,
    sources="OccludedPedestrians",
    height=128,
    width=64,
    transforms=["random_flip"],
    batch_size_train=8,
    batch_size_test=24,
    num_instances=2,
    train_sampler="RandomIdentitySampler",
    workers=0,
    use_gpu=torch.cuda.is_available(),
)
model = torchreid.models.build_model(
    "oamn_osnet_x0_25", num_classes=datamanager.num_train_pids, loss="triplet", pretrained=False
)
if torch.cuda.is_available():
    model = model.cuda()
optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=0.001)
scheduler = torchreid.optim.build_lr_scheduler(optimizer, lr_scheduler="cosine", max_epoch=arguments.epochs)

# 3. Train and test. The engine makes the occluded views, and tests with occlusion unification.
engine = ImageOAMNEngine(datamanager, model, optimizer, scheduler=scheduler)
engine.run(max_epoch=arguments.epochs, save_dir=arguments.save_dir, print_freq=5)

# 4. What the evaluation knows of each query: how it is hidden, and where the right person stands.
found = engine.evaluate("OccludedPedestrians")
for query, shares, rank in zip(found.query[:5], found.result.posterior, found.result.first_rank, strict=False):
    print(f"{Path(query.path).name}: {OCCLUSION_TYPES[shares.argmax()]}, the right person is at rank {rank}")
