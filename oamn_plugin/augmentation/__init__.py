"""What training does to a batch of images at random: views with occlusion, geometry, erasing."""

from __future__ import annotations

from oamn_plugin.augmentation.geometry import Geometry, erase
from oamn_plugin.augmentation.objects import CutOuts
from oamn_plugin.augmentation.occlusion import OcclusionAugmentation, Views, augmentation_of
from oamn_plugin.augmentation.transform import TrainingTransform

__all__ = ["CutOuts", "Geometry", "OcclusionAugmentation", "TrainingTransform", "Views", "augmentation_of", "erase"]
