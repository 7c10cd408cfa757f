"""One function for each published experiment: the paper, what to expect, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from diptych.errors import ConfigError
from diptych.messages import nearest
from diptych.presets import BRIDGE, UVCGAN2, Settings

if TYPE_CHECKING:  # names are looked up without torch
    from diptych.recipe import Recipe


def create(method: str, settings: Settings | None = None) -> Recipe:
    """Recipe.create, imported when first used: names of recipes are looked up without torch."""
    from diptych.recipe import Recipe

    return Recipe.create(method, settings)


def on(name: str, direction: str = "a2b") -> Settings:
    """The data of a recipe: a published set by its name, which `diptych fetch` brings, in this direction."""
    return {"data": {"source": [name], "direction": direction}}


SHORT: Settings = {"epochs": 8, "decay_epochs": 7, "batch_size": 4}  # 15 epochs, for the large sets of pix2pix


def facades() -> Recipe:
    """Architectural labels -> photo, pix2pix (Isola et al. 2017, section 4): 400 pairs, batch 1, 200 epochs with jitter.

    Source folders hold photo | label side by side, so the direction is b2a. The authors' weights score FID 119-125 on the 106
    test images. About 3 hours on one GPU of 2017.
    """
    return create("pix2pix", on("facades", "b2a"))


def maps() -> Recipe:
    """Aerial photo -> map, pix2pix (Isola et al. 2017, section 4.1).

    1096 pairs; 6.1 +- 1.3 % of its maps fool people, and 18.9 +- 2.5 % of photos in the other direction (table 4).
    """
    return create("pix2pix", on("maps"))


def cityscapes() -> Recipe:
    """Labels -> street photo, pix2pix (Isola et al. 2017, table 1): 2975 pairs; per-pixel accuracy 0.66 of an FCN-score."""
    return create("pix2pix", on("cityscapes", "b2a"))


def day2night() -> Recipe:
    """A place by day -> by night, pix2pix (Isola et al. 2017, figure 11): batch 4, 17 epochs."""
    return create("pix2pix", on("night2day", "b2a") | {"train": SHORT | {"epochs": 9, "decay_epochs": 8}})


def edges2shoes() -> Recipe:
    """Edges -> shoes, pix2pix (Isola et al. 2017, figure 15): batch 4, 15 epochs. The authors' weights score FID 75.8."""
    return create("pix2pix", on("edges2shoes") | {"train": SHORT})


def edges2handbags() -> Recipe:
    """Edges -> handbags, pix2pix (Isola et al. 2017, figure 14): batch 4, 15 epochs."""
    return create("pix2pix", on("edges2handbags") | {"train": SHORT})


def horse2zebra() -> Recipe:
    """Horse <-> zebra, CycleGAN (Zhu et al. 2017).

    The authors' weights score FID 62.1 with the identity loss and 77.2 without, on the 140 test images.
    """
    return create("cyclegan", on("horse2zebra"))


CYCLEGAN_TASKS = (
    "apple2orange",
    "summer2winter_yosemite",
    "iphone2dslr_flower",
    "monet2photo",
    "cezanne2photo",
    "ukiyoe2photo",
    "vangogh2photo",
)
"""Published sets that CycleGAN translates with the settings of horse2zebra (Zhu et al. 2017, figures 7, 9, 10, 12 and 14)."""


LONG: Settings = {"epochs": 200, "decay_epochs": 200}


def horse2zebra_cut() -> Recipe:
    """Horse -> zebra, CUT (Park et al. 2020, table 1): FID 45.5 published; others measured 62 to 68 at the last epoch."""
    return create("cut", on("horse2zebra") | {"train": LONG})


def horse2zebra_fastcut() -> Recipe:
    """Horse -> zebra, FastCUT (Park et al. 2020, table 1): no second PatchNCE term, mirrored inputs; FID 73.4 published."""
    method = {"lambda_nce": 10.0, "lambda_nce_idt": 0.0, "flip_equivariance": True}
    return create("cut", on("horse2zebra") | {"method": method, "train": {"epochs": 150, "decay_epochs": 50}})


def horse2zebra_src() -> Recipe:
    """Horse -> zebra, CUT with semantic relation consistency and hard negatives (Jung et al. 2022); FID 34.4 published."""
    method = {"lambda_src": 0.05, "contrast": "hdce", "lambda_nce": 0.1, "lambda_nce_idt": 0.1}
    return create("cut", on("horse2zebra") | {"method": method, "train": LONG})


def horse2zebra_qs() -> Recipe:
    """Horse -> zebra, CUT with query selection by attention (Hu et al. 2022); FID 41.1 published."""
    return create("cut", on("horse2zebra") | {"method": {"queries": "attention"}, "train": LONG})


def single_image() -> Recipe:
    """One image -> one image, SinCUT (Park et al. 2020, section 4.4): 1,600,000 crops of 64 pixels, 16 a step.

    Give folders of one large image each, of which an epoch is one crop. The authors zoom the whole image at random before they
    cut crops out of it; here crops are of any place at full size.
    """
    losses = {"gan": "vanilla", "lambda_nce": 4.0, "lambda_nce_idt": 4.0, "lambda_identity": 1.0, "lambda_r1": 1.0}
    method = losses | {"generator": "stylegan2", "num_patches": 1, "negatives": "batch", "ngf": 10, "ndf": 8}
    train = {"epochs": 800_000, "decay_epochs": 800_000, "batch_size": 16, "lr": 2e-3, "betas": [0.0, 0.99]}
    return create("cut", {"method": method, "data": {"resize": "none", "crop_size": 64}, "train": train})


def horse2zebra_dclgan() -> Recipe:
    """Horse <-> zebra, DCLGAN (Han et al. 2021): CUT in both directions."""
    return create("dclgan", on("horse2zebra") | {"train": LONG})


def cityscapes_santa() -> Recipe:
    """Labels -> street scenes, SANTA (Xie et al. 2023) with the authors' weight for Cityscapes."""
    return create("santa", on("cityscapes", "b2a") | {"method": {"lambda_path": 0.1}, "train": LONG})


def horse2zebra_unsb() -> Recipe:
    """Horse -> zebra, UNSB (Kim et al. 2024) as its released code computes, without time in G.

    FID 35.7 published, the best epoch by the test images; others measured 67 at the last epoch.
    """
    return create("unsb", on("horse2zebra") | {"method": {"time": "off"}, "train": LONG})


def maps_stegogan() -> Recipe:
    """Aerial photos <-> maps with names that no photo shows, StegoGAN (Wu et al. 2024): 100 epochs.

    The learning rate falls in a straight line over the second half; the authors' is a tenth there.
    """
    return create("stegogan", on("maps") | {"train": {"epochs": 50, "decay_epochs": 50}})


def sunflower2daisy() -> Recipe:
    """Sunflower <-> daisy, CycleGAN, 350 epochs as published with weights of both directions."""
    return create("cyclegan", {"train": {"epochs": 175, "decay_epochs": 175}})


def cyclegan_gan_alone() -> Recipe:
    """CycleGAN's ablation without either cycle (Zhu et al. 2017, tables 4 and 5)."""
    return create("cyclegan", {"method": {"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0}})


def cyclegan_cycle_alone() -> Recipe:
    """CycleGAN's ablation without the adversarial loss (Zhu et al. 2017, tables 4 and 5)."""
    return create("cyclegan", {"method": {"lambda_gan": 0.0, "lambda_identity": 0.0}})


def cyclegan_forward_cycle() -> Recipe:
    """CycleGAN's ablation GAN + forward cycle a -> b -> a (Zhu et al. 2017, tables 4 and 5)."""
    return create("cyclegan", {"method": {"lambda_cycle_b": 0.0, "lambda_identity": 0.0}})


def cyclegan_backward_cycle() -> Recipe:
    """CycleGAN's ablation GAN + backward cycle b -> a -> b (Zhu et al. 2017, tables 4 and 5)."""
    return create("cyclegan", {"method": {"lambda_cycle_a": 0.0, "lambda_identity": 0.0}})


def pix2pix_l1() -> Recipe:
    """pix2pix's L1 row (Isola et al. 2017, table 1)."""
    return create("pix2pix", {"method": {"lambda_gan": 0.0}})


def pix2pix_gan() -> Recipe:
    """pix2pix's GAN row: D sees the output alone, no L1 (Isola et al. 2017, table 1)."""
    return create("pix2pix", {"method": {"lambda_l1": 0.0, "conditional": False}})


def pix2pix_cgan() -> Recipe:
    """pix2pix's cGAN row: no L1 (Isola et al. 2017, table 1)."""
    return create("pix2pix", {"method": {"lambda_l1": 0.0}})


def pix2pix_l1_gan() -> Recipe:
    """pix2pix's L1+GAN row: D sees the output alone (Isola et al. 2017, table 1)."""
    return create("pix2pix", {"method": {"conditional": False}})


def uvcgan2_cat2dog() -> Recipe:
    """Cat <-> dog, UVCGANv2 (Torbunov et al. 2023): its transformer, 1,000,000 images at 256 px, no decay, averaged weights.

    AFHQ, whose larger side has 5,153 images: 194 epochs. The authors trained for 3.5 days on one A6000, after
    a pre-training of the generators by in-painting that is not part of this.
    """
    train = UVCGAN2 | {"epochs": 194}
    data = {"load_size": 256, "crop_size": 256, "holdout": 0.0}
    return create("uvcgan2", {"method": {"generator": "vit_modnet", "ngf": 48}, "data": data, "train": train})


def pix2pixhd_global() -> Recipe:
    """Labels -> photo, the global generator of pix2pixHD (Wang et al. 2018), 100 + 100 epochs: Cityscapes at 1024x512.

    The perceptual term has the published weights of five layers, of VGG16 in place of VGG19. A run with --method.enhancers 1
    --method.ngf 64 --method.global_snapshot SNAPSHOT --method.fix_global 0.1 goes on from it to 2048x1024.
    """
    layers = {"layers": [1, 2, 3, 4, 5], "layer_weights": [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0]}
    perceptual = {"loss": "perceptual", "between": ["fake_b", "real_b"], "weight": 10.0, "network": "vgg16", **layers}
    return create("pix2pixhd", {"data": {"resize": "aspect", "load_size": 512, "crop_size": 512}, "extra": [perceptual]})


def bicyclegan_edges2shoes() -> Recipe:
    """Edges -> shoes with many answers, BicycleGAN (Zhu et al. 2017), batch 2 at 256 px."""
    data = {"source": ["edges2shoes"], "load_size": 256, "crop_size": 256}
    return create("bicyclegan", {"data": data, "train": {"batch_size": 2}})


def ddbm_edges2handbags() -> Recipe:
    """Edges -> handbags at 64 px, the VP bridge of DDBM (Zhou et al. 2024, table 2): FID 1.83 against the training set.

    192 channels, three blocks a level, attention at 32, 16 and 8 px, batch 192. Sampled here by DBIM in 20 steps, whose
    authors report (Zheng et al. 2024) fewer passes for the same quality.
    """
    method = {"ngf": 192, "num_levels": 4, "num_blocks": 3, "num_attention": 3, "steps": 20}
    train = BRIDGE | {"epochs": 600, "batch_size": 192}
    data = {"source": ["edges2handbags"], "load_size": 64, "crop_size": 64}
    return create("bridge", {"method": method, "data": data, "train": train})


def relief() -> Recipe:
    """The demo: elevation tints -> shaded relief on embedded tiles, pix2pix, minutes on two CPU cores.

    Not mirrored: both maps are lit from the north-west. Without norms, which take away how bright an image is as a whole: ice
    came out gray with them.
    """
    method = {"generator": "unet_5", "ngf": 32, "ndf": 16, "norm": "none", "dropout": False, "upsample": "pixelshuffle"}
    method |= {"init": "kaiming", "lambda_l1": 1000.0}
    data = {"source": ["relief"], "resize": "none", "crop_size": 128, "flip": False}
    train = {"epochs": 17, "decay_epochs": 17, "decay": "step", "batch_size": 4, "lr": 1e-3, "ema": 0.999, "ema_warm_up": True}
    return create("pix2pix", {"method": method, "data": data, "train": train})


def relief_unpaired() -> Recipe:
    """The unpaired demo: CycleGAN on the same tiles without their pairing, a quarter of an hour on two CPU cores.

    A U-Net, since colours mean heights here: its outermost skip has no InstanceNorm, which would take the mean colour away.
    """
    method = {"generator": "unet_4", "ngf": 32, "ndf": 32, "upsample": "pixelshuffle"}
    data = {"source": ["relief"], "resize": "none", "crop_size": 96, "flip": False}
    train = {"epochs": 5, "decay_epochs": 5, "lr": 4e-4, "ema": 0.99}
    return create("cyclegan", {"method": method, "data": data, "train": train})


def by_name(*functions: Callable[[], Recipe]) -> dict[str, Callable[[], Recipe]]:
    """Recipes by the name that the command line gives them: cyclegan_gan_alone is cyclegan-gan-alone."""
    return {function.__name__.replace("_", "-"): function for function in functions}


RECIPES = by_name(
    facades,
    maps,
    horse2zebra,
    horse2zebra_cut,
    horse2zebra_fastcut,
    horse2zebra_src,
    horse2zebra_qs,
    single_image,
    horse2zebra_dclgan,
    cityscapes_santa,
    horse2zebra_unsb,
    maps_stegogan,
    sunflower2daisy,
    cityscapes,
    day2night,
    edges2shoes,
    edges2handbags,
    cyclegan_gan_alone,
    cyclegan_cycle_alone,
    cyclegan_forward_cycle,
    cyclegan_backward_cycle,
    pix2pix_l1,
    pix2pix_gan,
    pix2pix_cgan,
    pix2pix_l1_gan,
    uvcgan2_cat2dog,
    pix2pixhd_global,
    bicyclegan_edges2shoes,
    ddbm_edges2handbags,
    relief,
    relief_unpaired,
) | {name.replace("_", "-"): partial(create, "cyclegan", on(name)) for name in CYCLEGAN_TASKS}
"""An application keeps its own recipes beside it (diptych.music.recipes); the command line knows both."""


def named(name: str, recipes: Mapping[str, Callable[[], Recipe]] = RECIPES) -> Recipe:
    """The recipe of a published experiment. Raises ConfigError, naming the nearest, when there is none."""
    if name not in recipes:
        near = nearest(name, recipes, n=1)
        raise ConfigError(
            f"no recipe is called {name!r}; {f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(recipes)}"
        )
    return recipes[name]()
