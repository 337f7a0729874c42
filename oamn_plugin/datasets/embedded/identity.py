"""Who a person is: build, hair, skin, clothes, shoes, bag and hat, all fixed by the identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oamn_plugin.datasets.embedded.raster import Colour
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY
from oamn_plugin.datasets.embedded.stream import Stream

COLOURS: dict[str, Colour] = {
    "black": (30, 30, 34), "charcoal": (66, 68, 73), "grey": (132, 134, 137), "silver": (186, 187, 188),
    "white": (232, 231, 227), "navy": (34, 42, 80), "blue": (48, 86, 162), "sky": (132, 172, 212),
    "red": (172, 38, 44), "burgundy": (100, 30, 46), "green": (46, 108, 64), "olive": (94, 94, 58),
    "khaki": (188, 168, 128), "brown": (104, 70, 46), "yellow": (220, 182, 58), "orange": (210, 108, 46),
    "pink": (216, 142, 164), "purple": (98, 62, 126), "teal": (36, 114, 118), "denim": (64, 86, 126),
}  # fmt: skip
UPPER = {
    "black": 5, "charcoal": 3, "grey": 3, "silver": 2, "white": 4, "navy": 3, "blue": 2, "sky": 1, "red": 2,
    "burgundy": 1, "green": 1, "olive": 1.5, "khaki": 1.5, "brown": 1.2, "yellow": 0.8, "orange": 0.7, "pink": 0.8,
    "purple": 0.7, "teal": 0.8,
}  # fmt: skip
LOWER = {
    "black": 5,
    "charcoal": 2.5,
    "navy": 3,
    "denim": 5,
    "grey": 2,
    "khaki": 2.5,
    "brown": 1,
    "olive": 1,
    "white": 0.7,
}
SKIRT = {**LOWER, "red": 1.5, "burgundy": 1, "green": 0.8, "pink": 0.8, "teal": 0.6}
ACCENT = dict.fromkeys(COLOURS, 1.0)
SHOES = {"black": 4, "white": 4, "brown": 2, "grey": 1.5, "red": 0.8, "navy": 1, "khaki": 0.8}
SKIN: tuple[Colour, ...] = (
    (238, 205, 180),
    (224, 182, 150),
    (204, 156, 120),
    (160, 112, 80),
    (116, 78, 56),
    (84, 58, 44),
)
HAIR: tuple[Colour, ...] = (
    (28, 24, 24), (48, 34, 28), (84, 56, 36), (120, 84, 48), (190, 150, 92), (146, 66, 36), (150, 148, 146),
)  # fmt: skip
PATTERNS = {"stripes": 3, "checks": 2, "dots": 1.2, "logo": 2.5, "pinstripes": 1, "band": 2}


@dataclass(frozen=True)
class Garment:
    """A piece of clothing: its cut, colours and pattern."""

    cut: str
    colour: Colour
    second: Colour = (230, 230, 230)
    pattern: str = "plain"
    period: float = 0.03
    """Size of the pattern as a share of the body's height."""


@dataclass(frozen=True)
class Carried:
    """A bag or a hat."""

    kind: str
    colour: Colour = (30, 30, 34)


@dataclass(frozen=True)
class Identity:
    """Everything that stays the same in all images of a person.

    Attributes:
        feminine: which hair, cuts and proportions are likely.
        girth, shoulders, hips, legs: proportions; 1 is the average.
        skin, hair, hair_style, beard: the head.
        upper: cut ``tshirt``, ``shirt``, ``hoodie``, ``jacket``, ``coat``, ``dress`` or ``tank``.
        lower: cut ``trousers``, ``wide``, ``leggings``, ``shorts``, ``skirt`` or ``long_skirt``.
        inner: what shows under an open jacket, and the collar.
        shoes: cut ``sneakers``, ``boots`` or ``flats``.
        bag: ``none``, ``backpack``, ``handbag``, ``shoulder`` or ``trolley``; ``bag_side`` -1 or 1.
        hat: ``none``, ``cap``, ``beanie`` or ``sunhat``.
        scarf: its colour, or None.
    """

    feminine: bool
    girth: float
    shoulders: float
    hips: float
    legs: float
    skin: Colour
    hair: Colour
    hair_style: str
    beard: bool
    upper: Garment
    lower: Garment
    inner: Colour
    shoes: Garment
    bag: Carried
    bag_side: int
    hat: Carried
    scarf: Colour | None


def colour_of(stream: Stream, weights: dict[str, float]) -> Colour:
    """A named colour, by weight, a little off."""
    base, jitter = COLOURS[stream.weighted(weights)], DIFFICULTY.colour_jitter
    red, green, blue = (min(245, max(12, channel + stream.integer(-jitter, jitter))) for channel in base)
    return red, green, blue


def _upper(stream: Stream, feminine: bool) -> Garment:
    cuts = {
        "tshirt": 4,
        "shirt": 2.5,
        "hoodie": 2,
        "jacket": 3,
        "coat": 2,
        "tank": 0.6,
        "dress": 2.2 if feminine else 0,
    }
    cut = stream.weighted(cuts)
    colour = colour_of(stream, UPPER)
    second = colour_of(stream, ACCENT if stream.chance(0.5) else {"white": 2, "black": 1})
    plain = stream.chance(DIFFICULTY.plain_clothes) or (cut == "coat" and stream.chance(0.6))
    pattern = "plain" if plain else stream.weighted(PATTERNS)
    if sum(abs(a - b) for a, b in zip(colour, second, strict=True)) < 120:
        second = (226, 224, 218) if sum(colour) < 380 else (40, 40, 48)
    period = stream.uniform(0.028, 0.046)
    return Garment(cut, colour, second, pattern, period)


def _lower(stream: Stream, feminine: bool) -> Garment:
    cuts = {"trousers": 6, "wide": 1.5, "shorts": 1.8, "leggings": 1.5 if feminine else 0.2}
    if feminine:
        cuts |= {"skirt": 2.5, "long_skirt": 1}
    cut = stream.weighted(cuts)
    colour = colour_of(stream, SKIRT if "skirt" in cut else LOWER)
    pattern = stream.weighted({"plain": 5, "checks": 1, "dots": 1}) if "skirt" in cut else "plain"
    side_stripe = cut in ("trousers", "shorts") and stream.chance(0.15)
    return Garment(cut, colour, (228, 226, 222), "side_stripe" if side_stripe else pattern, stream.uniform(0.03, 0.045))


def _hair(stream: Stream, feminine: bool, light: bool) -> tuple[Colour, str, bool]:
    if feminine:
        style = stream.weighted({"long": 4, "bob": 3, "ponytail": 3, "bun": 1.5, "curly": 1.5, "short": 1})
    else:
        style = stream.weighted({"short": 6, "buzz": 1.5, "bald": 1.2, "curly": 1, "bob": 0.6})
    return stream.choice(HAIR if light else HAIR[:3]), style, not feminine and stream.chance(0.3)


def identity_of(seed: int, pid: int) -> Identity:
    """The person with a number. People come in threes; lookalikes wear the garments of their three.

    >>> identity_of(0, 7) == identity_of(0, 7)
    True
    """
    stream = Stream(seed, "identity", pid)
    own, shared = sample_identity(stream), sample_identity(Stream(seed, "lookalikes", pid // 3))
    if not stream.chance(DIFFICULTY.lookalikes) or (own.feminine, shared.feminine) == (False, True):
        return own
    return replace(own, upper=shared.upper, lower=shared.lower, skin=shared.skin)


def sample_identity(stream: Stream) -> Identity:
    """Draws a person."""
    feminine = stream.chance(0.5)
    skin = stream.choice(SKIN)
    hair, style, beard = _hair(stream, feminine, light=SKIN.index(skin) < 3)
    bags = {"backpack": 3, "handbag": 2.2 if feminine else 0.6, "shoulder": 2, "trolley": 0.6}
    bag = "none" if stream.chance(DIFFICULTY.nothing_carried) else stream.weighted(bags)
    hats = {"cap": 2, "beanie": 1.5, "sunhat": 0.8 if feminine else 0.3}
    hat = "none" if stream.chance(DIFFICULTY.bare_head) else stream.weighted(hats)
    return Identity(
        feminine=feminine,
        girth=stream.uniform(0.84, 1.26),
        shoulders=stream.uniform(0.86, 1.0) if feminine else stream.uniform(0.97, 1.14),
        hips=stream.uniform(0.98, 1.14) if feminine else stream.uniform(0.88, 1.02),
        legs=stream.uniform(0.95, 1.05),
        skin=skin,
        hair=hair,
        hair_style=style,
        beard=beard,
        upper=_upper(stream, feminine),
        lower=_lower(stream, feminine),
        inner=colour_of(stream, UPPER),
        shoes=Garment(stream.weighted({"sneakers": 4, "boots": 1.5, "flats": 2}), colour_of(stream, SHOES)),
        bag=Carried(bag, colour_of(stream, ACCENT)),
        bag_side=stream.choice((-1, 1)),
        hat=Carried(hat, colour_of(stream, ACCENT)),
        scarf=colour_of(stream, ACCENT) if stream.chance(0.1) else None,
    )
