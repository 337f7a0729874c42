"""The engines: one for OAMN, and the host's two with this package's evaluation and checkpoints."""

from __future__ import annotations

from typing import Any

import torch
import torchreid
from torch import Tensor, nn

from oamn_plugin.augmentation import CutOuts, Geometry, OcclusionAugmentation, TrainingTransform, augmentation_of
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.torchreid.training import CoreTraining
from oamn_plugin.losses import OAMNObjective
from oamn_plugin.modeling import OAMN


class BaselineTraining(CoreTraining):
    """Mixed into an engine of the host, before it: occlusion augmentation for the host's own models.

    Args:
        datamanager: the host's ``ImageDataManager``; its transforms come first.
        *args: the host engine's.
        occlusion: occludes images, one view each (``axes=0``); None for none.
        seed: of the occlusion.
        **kwargs: the host engine's.

    Raises:
        ConfigError: an occlusion that makes several views of an image.
    """

    def __init__(
        self, datamanager: Any, *args: Any, occlusion: OcclusionAugmentation | None = None, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(datamanager, *args, **kwargs)  # type: ignore[call-arg]
        self.transform = TrainingTransform(occlusion=occlusion)
        self.generator = torch.Generator().manual_seed(seed)
        if self.transform.num_views > 1:
            raise ConfigError("the host's own models take one view of an image: OcclusionAugmentation(axes=0, ...)")

    def parse_data_for_train(self, data: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The host's images and identities, the images occluded on their device."""
        images, pids = super().parse_data_for_train(data)  # type: ignore[misc]
        if self.use_gpu:
            images = images.cuda(non_blocking=True)
        return self.views(images).images[:, 0], pids


class SoftmaxEngine(BaselineTraining, torchreid.engine.ImageSoftmaxEngine):
    """The host's softmax engine with occlusion augmentation, tested by the core."""


class TripletEngine(BaselineTraining, torchreid.engine.ImageTripletEngine):
    """The host's triplet engine with occlusion augmentation, tested by the core."""


class ImageOAMNEngine(CoreTraining, torchreid.engine.Engine):
    """Trains OAMN on all views of each image and tests it with occlusion unification.

    Args:
        datamanager: the host's ``ImageDataManager``. Its images are normalised; what its transforms do happens once an
            image, before its views are made.
        model: of ``build_model("oamn_...")``.
        optimizer: of the host's ``build_optimizer``. ``staged_lr=True, new_layers=["feat_bn", "classifier"]`` gives the
            method's learning rates.
        scheduler: stepped once an epoch.
        use_gpu: use a GPU where there is one.
        geometry: random flip, crop and rotation on the device, in place of the data manager's: patches are then cut
            from the unmoved images, and the preset ``official`` can move every view on its own.
        seed: of the occlusion augmentation.
        objects: occluders beside the strips, with one view an image.

    Raises:
        ConfigError: the model is no OAMN.

    Example::

        engine = ImageOAMNEngine(datamanager, model, optimizer, scheduler=scheduler)
        engine.run(max_epoch=60, save_dir="log/oamn_osnet_x1_0")
    """

    def __init__(
        self,
        datamanager: Any,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any = None,
        use_gpu: bool = True,
        geometry: Geometry | None = None,
        seed: int = 0,
        objects: CutOuts | None = None,
    ) -> None:
        super().__init__(datamanager, use_gpu)
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        core = self.bare_model
        if not isinstance(core, OAMN):
            raise ConfigError(
                f"this engine trains OAMN, not {type(core).__name__}: build a model named oamn_<backbone>"
            )
        self.register_model("model", model, optimizer, scheduler)
        self.channels_last = next(core.parameters()).is_contiguous(memory_format=torch.channels_last)
        options = core.options
        self.objective = OAMNObjective(options)
        self.transform = TrainingTransform(geometry, augmentation_of(options, objects), options.aligned_views)
        self.generator = torch.Generator().manual_seed(seed)

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """One optimiser step on all views of a batch.

        Returns:
            the weighted losses, their sum ``loss`` and the accuracy ``acc`` in percent.

        Raises:
            BadLossError: a loss is not a finite number; the parameters are as before the step.
        """
        images, pids = self.parse_data_for_train(data)
        if self.use_gpu:
            images, pids = images.cuda(non_blocking=True), pids.cuda(non_blocking=True)
        views = self.views(images)
        flat = views.images.flatten(0, 1)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        output = self.model(flat.contiguous(memory_format=layout), whole=True)
        losses = self.objective(output, pids, views.types, views.covered)
        total = torch.stack(list(losses.values())).sum()
        repeated = pids.repeat_interleave(views.types.shape[1])
        accuracy = (output.class_logits.detach().argmax(1) == repeated).float().mean()
        summary = {name: float(loss.detach()) for name, loss in losses.items()}
        self.check_losses(summary, data)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        summary = {"loss": float(total.detach()), **summary, "acc": 100 * float(accuracy)}
        self.write_metrics(summary, len(flat))
        return summary

    def two_stepped_transfer_learning(
        self, epoch: int, fixbase_epoch: int, open_layers: Any, model: nn.Module | None = None
    ) -> None:
        """The host's, which makes every parameter trainable; those that the method never trains are frozen again."""
        super().two_stepped_transfer_learning(epoch, fixbase_epoch, open_layers, model)
        core: Any = self.bare_model
        if core.options.head == "bnneck":
            core.feat_bn.bias.requires_grad_(False)
