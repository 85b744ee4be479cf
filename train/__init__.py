"""Training, releases and studies.

The scripts here run from a checkout (`python train/train.py`, `accelerate launch train/train.py`) and are also modules
of this package (`from train.trainer import Trainer`). All imports are absolute. Python puts the folder of a script on
its path, where `train` would be the file train.py; so each script puts the root of the checkout before it.
"""
