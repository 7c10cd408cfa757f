r"""UNSB: Unpaired Image-to-Image Translation via Neural Schrödinger Bridge (Kim, Kwon, Kim, Ye 2024, arXiv 2305.15086).

A bridge of five times from a to b. At a random time t, x_t is where the chain of translations and noise has brought an image a
(diptych.nets.chain); G(x_t, t, z) translates it on, and three judges teach it (eqs. 13-17):

    L_G = lambda_gan L_GAN(G(x_t), D_b)                                               translations look as images of b
        + lambda_sb { -(5 - t) / 5 tau [E E(p, p) - log sum exp E(p, p')] + tau E|x_t - G(x_t)|^2 }          entropy, transport
        + lambda_nce [PatchNCE(a, G(x_t)) + PatchNCE(b, G(x^b_t))] / 2                        as in CUT, at time 0

p = (x_t, G(x_t)), and p' is the pair of another source image; the critic E maximises E(p, p) - L - L^2, L = log sum exp E(p, p').
D is updated first, then E, then G and H together. A translation runs the chain: `diptych translate --steps 3`.

``time: on`` is the paper's network, G told the time. ``time: off`` computes what the authors' released code does: there every
layer of a residual block is given the block's input, so that G is not told the time. The published scores are of that.

Deliberate differences from the authors' code: the time is added after norms, as an instance norm after it takes it away; the
chain is computed to its last time on a GPU and x_t is taken from it, so that every step can be replayed; the other source image
is the one before in the batch, or the last of the batch before; passes of a step that do not wait for each other are joined;
PatchNCE's terms of a and b share places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.contrastive import patch_nce_of_maps
from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, discriminator_loss, generator_loss
from diptych.methods.base import Batch, Method, Terms, frozen, observe_real
from diptych.nets import BridgeChain, Downsample, Init, Projector, ResNetName, TimedPatchGAN, Upsample, cut_taps, initialise, taps
from diptych.nets.chain import TAU, bridge_step
from diptych.nets.modes import Mode
from diptych.nets.resnet import tap_channels
from diptych.nets.timed import Time
from diptych.pixels import Domain
from diptych.settings import Count, PairWeight, Positive, Size, Weight, check_settings, sides


@dataclass(frozen=True)
class UNSBConfig:
    """Settings of UNSB; the defaults are the published ones, but for ``time``, which is off in the authors' released code.

    ``num_times`` is how many times the bridge has, and how many steps a translation takes at most. ``lambda_pair`` is the weight
    of the pixel loss on known pairs, which only ``data.pairs`` has.
    """

    name: ClassVar[str] = "unsb"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b", "idt_b")

    generator: ResNetName = "resnet_9"
    ngf: Count = 64
    time: Time = "on"
    downsample: Downsample = "blur"
    upsample: Upsample = "blur"
    num_layers: Count = 3
    ndf: Count = 64
    init: Init = "xavier"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    num_times: Count = 5
    tau: Positive = TAU
    lambda_gan: Weight = 1.0
    lambda_sb: Weight = 1.0
    lambda_nce: Weight = 1.0
    temperature: Positive = 0.07
    num_patches: Count = 256
    projection: Count = 256
    pixel_loss: PixelLoss = L1
    lambda_pair: PairWeight = 10.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if self.gan == "wgan":
            raise ConfigError(
                "method.gan wgan needs a gradient penalty, which unsb's judges have not; choose vanilla, lsgan or hinge"
            )
        if not self.lambda_gan:
            raise ConfigError("unsb: lambda_gan is 0, so nothing is learnt of the target; set it greater than 0")

    def build(self, a: Domain, b: Domain, crop_size: Size) -> UNSB:
        """G_ab, D_b, E and H. Raises ConfigError for domains of different channels: a state is a mixture of images of both."""
        if a.channels != b.channels:
            raise ConfigError(
                f"unsb mixes images of both domains, which must have the same channels; found {a.channels} and {b.channels}; "
                "convert one of them"
            )
        num_blocks, channels = int(self.generator.removeprefix("resnet_")), a.channels
        shape: dict[str, Any] = {
            "width": self.ngf,
            "num_blocks": num_blocks,
            "downsample": self.downsample,
            "upsample": self.upsample,
        }
        G_ab = BridgeChain(
            channels, channels, num_times=self.num_times, steps=self.num_times, tau=self.tau, time=self.time, **shape
        )
        judge: dict[str, Any] = {"width": self.ndf, "num_layers": self.num_layers, "downsample": self.downsample}
        D_b, E = TimedPatchGAN(channels, **judge), TimedPatchGAN(4 * channels, **judge)
        H = Projector(tap_channels(cut_taps(num_blocks), channels, self.ngf), self.projection)
        for net in (G_ab, D_b, E, H):
            initialise(net, self.init, self.init_gain)
        before = torch.zeros(1, channels, *sides(crop_size))
        config = replace(self, pixel_loss=self.pixel_loss.on(b))
        return UNSB(config, G_ab, D_b, E, H if self.lambda_nce else None, before)


@final
class UNSB(Method):
    """G_ab, D_b, E and, unless lambda_nce is 0, H; phases D, E (unless lambda_sb is 0), then G."""

    before: Tensor
    begun: Tensor

    def __init__(
        self, config: UNSBConfig, G_ab: BridgeChain, D_b: nn.Module, E: nn.Module, H: nn.Module | None, before: Tensor
    ) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b, self.H = config, G_ab, D_b, H
        self.E = E if config.lambda_sb else None
        self.taps = cut_taps(len(G_ab.G.blocks))
        self.register_buffer("before", before)  # the last source image of the batch before
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        G: list[nn.Module] = [self.G_ab, self.H] if self.H else [self.G_ab]
        E: dict[str, list[nn.Module]] = {"E": [self.E]} if self.E else {}
        return {"D": [self.D_b], **E, "G": G}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b, n = self.config, batch.a, batch.b, len(batch.a)
        index = torch.randint(c.num_times, (), device=real_a.device)
        sources = torch.cat([real_a, self._others(real_a), real_b])
        state, time = batch.filled(self._state_at(index, sources)), index.expand(len(sources))
        fake = batch.filled(self.G_ab.G(state, time, self._noise_vector(sources, len(sources))))
        (x, x_other, _), (fake_b, fake_other, idt_b) = state.split(n), fake.split(n)
        on_fake, on_real = self.D_b(torch.cat([fake_b.detach(), real_b]), time[: 2 * n]).split(n)
        observe_real(self.D_b, on_real, c.gan)
        on_both = discriminator_loss(on_fake, False, c.gan), discriminator_loss(on_real, True, c.gan)
        yield "D", {"fake": 0.5 * on_both[0], "real": 0.5 * on_both[1]}
        if self.E:
            own, free = self._energies(torch.cat([x, fake_b.detach()], 1), torch.cat([x_other, fake_other.detach()], 1), time)
            yield "E", {"own": -own, "other": free, "other_squared": free.square()}

        with frozen(self.D_b):
            terms: Terms = {"gan": c.lambda_gan * generator_loss(self.D_b(fake_b, time[:n]), c.gan)}
        if self.E:
            with frozen(self.E):
                own, free = self._energies(torch.cat([x, fake_b], 1), torch.cat([x_other, fake_other], 1), time)
            left = (c.num_times - index) / c.num_times
            terms["entropy"] = -c.lambda_sb * c.tau * left * (own - free)
            terms["transport"] = c.lambda_sb * c.tau * (x - fake_b).square().mean()
        if self.H:
            terms["nce"] = c.lambda_nce * self._nce(torch.cat([fake_b, idt_b]), torch.cat([real_a, real_b]))
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * c.pixel_loss(fake_b, real_b, batch.known)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b, idt_b=idt_b)

    def _energies(self, pair: Tensor, other: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """E E(p, p) and log sum exp E(p, p') of pairs p and p' of a state and its translation, in one joined call."""
        assert self.E
        own, across = self.E(torch.cat([torch.cat([pair, pair], 1), torch.cat([pair, other], 1)]), time[: 2 * len(pair)]).chunk(2)
        return own.mean(), across.flatten().logsumexp(0)

    def _others(self, real_a: Tensor) -> Tensor:
        """Another source image for each: the one before, and for the first the last of the batch before."""
        others = torch.empty_like(real_a)  # in the memory layout of the images
        others[1:] = real_a[:-1]
        others[0] = torch.where(self.begun, self.before[0].to(real_a.dtype), real_a[-1])
        with torch.no_grad():
            self.before.copy_(real_a[-1:])
            self.begun.fill_(True)
        return others

    @torch.no_grad()
    def _state_at(self, index: Tensor, x: Tensor) -> Tensor:
        """x_t at a time whose index is on the device.

        A CPU walks the chain as far as that time. Any other device walks all of it, because reading the index would make it wait.
        The noise of the whole chain is drawn on both, so that they draw alike.
        """
        walked = int(index.numpy()) if x.device.type == "cpu" else self.config.num_times - 1
        times, states = self.G_ab.times, [x]
        for k in range(self.config.num_times - 1):
            z, noise = self._noise_vector(x, len(x)), torch.randn_like(x)
            if k < walked:
                fake = self.G_ab.G(states[-1], torch.full((len(x),), k, device=x.device), z)
                share, deviation = bridge_step(times, k, self.config.tau)
                states.append((1 - share) * states[-1] + share * fake + deviation * noise)
        return torch.stack(states).index_select(0, index[None])[0]

    def _noise_vector(self, like: Tensor, n: int) -> Tensor:
        return torch.randn(n, self.G_ab.G.noise, device=like.device, dtype=like.dtype)

    def _nce(self, fake: Tensor, real: Tensor) -> Tensor:
        """The mean PatchNCE of translations against sources; the encoder is told time 0 and one noise vector for all."""
        assert self.H
        c, G = self.config, self.G_ab.G
        start, z = torch.zeros(len(fake), dtype=torch.long, device=fake.device), self._noise_vector(fake, 1).expand(len(fake), -1)
        context = G.context(start, z)
        target = taps(G, fake, self.taps, *context)
        with torch.no_grad():
            source = taps(G, real, self.taps, *context)
        return patch_nce_of_maps(target, source, self.H, self.H, c.num_patches, c.temperature)
