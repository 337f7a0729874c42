"""The torchreid adapter: its models, data sets and transforms by name, and the engine that trains and tests OAMN.

>>> import torchreid  # doctest: +SKIP
>>> from oamn_plugin.hosts.torchreid import ImageOAMNEngine, register  # doctest: +SKIP
>>> register(input_size=(256, 128))  # doctest: +SKIP
>>> model = torchreid.models.build_model("oamn_osnet_x1_0", num_classes=751, loss="triplet")  # doctest: +SKIP
"""

from oamn_plugin.hosts.torchreid.compat import install

install()

from oamn_plugin.hosts.torchreid.engine import ImageOAMNEngine, SoftmaxEngine, TripletEngine  # noqa: E402
from oamn_plugin.hosts.torchreid.models import TorchreidOAMN, build_oamn, register  # noqa: E402

__all__ = ["ImageOAMNEngine", "SoftmaxEngine", "TorchreidOAMN", "TripletEngine", "build_oamn", "register"]
