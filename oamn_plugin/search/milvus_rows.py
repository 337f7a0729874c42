"""Places in Milvus, and how an index's rows and conditions are written there."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from oamn_plugin.search.files import GalleryIndexError
from oamn_plugin.search.gallery import GalleryImage

TOKEN = "OAMN_MILVUS_TOKEN"
"""Environment variable with the token of the server: ``user:password`` or a key."""
LOCAL, SERVERS = "milvus:///", ("http://", "https://")


def parse(location: str) -> tuple[str, str]:
    """Address and collection of a location.

    >>> parse("http://host:19530/people"), parse("milvus:///data/gallery.db")
    (('http://host:19530', 'people'), ('/data/gallery.db', 'gallery'))

    Raises:
        GalleryIndexError: it is none.
    """
    if location.startswith(LOCAL) and location.endswith(".db"):
        return location[len(LOCAL) - 1 :], "gallery"
    scheme, _, rest = location.partition("://")
    host, _, name = rest.partition("/")
    if f"{scheme}://" not in SERVERS or not host or not name.isidentifier():
        raise GalleryIndexError(
            f"{location} is no place in Milvus: write milvus:///path/gallery.db or http://host:19530/collection"
        )
    return f"{scheme}://{host}", name


def key_of(path: str) -> str:
    """The key of an image, made of its path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def entity_id(key: str, kind: str) -> str:
    """The primary key of the entity of an image for a type, or for what else is kept of it."""
    return f"{key}-{kind}"


def connect(uri: str, location: str) -> Any:
    """A client for an address.

    Raises:
        GalleryIndexError: pymilvus is missing, or the server cannot be reached.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise GalleryIndexError(f"{location} needs pymilvus: pip install 'oamn_plugin[milvus]'") from None
    try:
        return MilvusClient(uri, token=os.environ.get(TOKEN, ""))
    except Exception as error:  # pymilvus raises its own, grpc's and others
        token = "" if os.environ.get(TOKEN) or not uri.startswith(SERVERS) else f" (if it needs a token: set {TOKEN})"
        raise GalleryIndexError(f"cannot open {location}{token}: {str(error).splitlines()[0][:300]}") from error


def entity(key: str, kind: str, record: str, image: GalleryImage | None, vector: Any) -> dict[str, Any]:
    """The row of an image for a type, or of what else is kept under a type of its own."""
    pid, camid = (image.pid, image.camid) if image else ("", "")
    values = np.asarray(vector, dtype=np.float32)
    return {"id": entity_id(key, kind), "image": key, "type": kind, "pid": pid, "camid": camid, "record": record,
            "vector": values.tolist()}  # fmt: skip


def shows(pid: str, camid: str) -> str:
    """The condition that an image is one of a person by a camera."""
    return f"{equal('pid', pid)} and {equal('camid', camid)}"


def equal(field: str, value: str) -> str:
    """The condition that a field has a value."""
    return f"{field} == {json.dumps(value, ensure_ascii=False)}"
