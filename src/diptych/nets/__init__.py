"""Generators and discriminators, found by name in two plain tables.

Every network keeps its constructor's arguments in ``spec``, so that a snapshot can rebuild it: ``build_net(net.spec)``.
"""

from __future__ import annotations

from typing import Annotated, Any

from torch import nn

from diptych.errors import ConfigError
from diptych.nets.adain import AdaINResNet
from diptych.nets.adjust import adjusted
from diptych.nets.batch_head import BatchHeadDiscriminator
from diptych.nets.blocks import Downsample, Norm, Padding, Upsample, apply_each, apply_side_by_side
from diptych.nets.bridge import BridgeSampler
from diptych.nets.chain import BridgeChain
from diptych.nets.colorizer import Colorizer
from diptych.nets.init import Init, initialise
from diptych.nets.instances import InstanceGenerator
from diptych.nets.latent import LatentUNet
from diptych.nets.patchgan import PatchGAN
from diptych.nets.pix2pixhd import GlobalGenerator, LocalEnhancer, MultiscaleDiscriminator
from diptych.nets.projector import Digest, Projector
from diptych.nets.resnet import ResNet
from diptych.nets.stage import Stage, recompute_stages
from diptych.nets.stego import StegoResNet
from diptych.nets.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diptych.nets.taps import cut_taps, tapped, taps
from diptych.nets.timed import TimedPatchGAN
from diptych.nets.unet import UNet
from diptych.nets.unet_activated import ActivatedUNet
from diptych.nets.vit_modnet import VitModnet
from diptych.settings import Rule

GENERATORS: dict[str, type[nn.Module]] = {
    "resnet": ResNet,
    "unet": UNet,
    "adain_resnet": AdaINResNet,
    "bridge_chain": BridgeChain,
    "stego_resnet": StegoResNet,
    "vit_modnet": VitModnet,
    "bridge": BridgeSampler,
    "latent_unet": LatentUNet,
    "colorizer": Colorizer,
    "pix2pixhd_global": GlobalGenerator,
    "pix2pixhd_local": LocalEnhancer,
    "pix2pixhd_instances": InstanceGenerator,
    "unet_activated": ActivatedUNet,
    "stylegan2": StyleGAN2Generator,
}
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "patchgan": PatchGAN,
    "multiscale_patchgan": MultiscaleDiscriminator,
    "timed_patchgan": TimedPatchGAN,
    "batch_head": BatchHeadDiscriminator,
    "stylegan2_judge": StyleGAN2Discriminator,
}


def _is_generator(name: str) -> bool:
    kind, _, depth = name.rpartition("_")
    least = 0 if kind == "resnet" else 2
    return kind in ("resnet", "unet", "encoder_decoder") and depth.isdecimal() and int(depth) >= least


GENERATOR_RULE = Rule(
    _is_generator, "resnet_N, or unet_N or encoder_decoder_N with a number N of at least 2, such as resnet_9 or unet_8"
)
GeneratorName = Annotated[str, GENERATOR_RULE]
"""A setting that ``generator`` understands."""
RESNET_RULE = Rule(
    lambda name: name.startswith("resnet_") and _is_generator(name), "resnet_N with a number N of blocks, such as resnet_9"
)
ResNetName = Annotated[str, RESNET_RULE]
"""The name of a generator whose feature maps have names (diptych.nets.taps)."""

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "GENERATOR_RULE",
    "RESNET_RULE",
    "ActivatedUNet",
    "AdaINResNet",
    "BridgeChain",
    "Digest",
    "Downsample",
    "GeneratorName",
    "GlobalGenerator",
    "Init",
    "InstanceGenerator",
    "LocalEnhancer",
    "MultiscaleDiscriminator",
    "Norm",
    "Padding",
    "PatchGAN",
    "Projector",
    "ResNet",
    "ResNetName",
    "Stage",
    "StegoResNet",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "TimedPatchGAN",
    "UNet",
    "Upsample",
    "VitModnet",
    "adjusted",
    "apply_each",
    "apply_side_by_side",
    "build_net",
    "cut_taps",
    "generator",
    "initialise",
    "recompute_stages",
    "tapped",
    "taps",
]


def build_net(spec: dict[str, Any]) -> nn.Module:
    """A network from its spec, with untrained weights."""
    arguments = dict(spec)
    name = arguments.pop("net", None)
    net = {**GENERATORS, **DISCRIMINATORS}.get(name)
    if net is None:
        raise ConfigError(f"no network is called {name!r}; known: {', '.join([*GENERATORS, *DISCRIMINATORS])}")
    return net(**arguments)


def generator(name: str, in_channels: int, out_channels: int, **options: Any) -> nn.Module:
    """A generator by the name that recipes use.

    ``resnet_9`` (9 blocks), ``unet_8`` (8 halvings), ``encoder_decoder_8`` (no skips).
    """
    kind, _, depth = name.rpartition("_")
    if kind not in ("resnet", "unet", "encoder_decoder") or not depth.isdecimal():
        raise ConfigError(
            f"generator must be resnet_N, unet_N or encoder_decoder_N with a number N, found {name!r}; e.g. resnet_9, unet_8"
        )
    if kind == "resnet":
        return ResNet(in_channels, out_channels, num_blocks=int(depth), **options)
    return UNet(in_channels, out_channels, num_downs=int(depth), skips=kind == "unet", **options)
