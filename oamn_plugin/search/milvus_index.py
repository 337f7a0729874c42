"""A gallery in Milvus: the folder index's questions, answered by a server or cluster that others maintain.

Each image has an entity for every occlusion type. Its key is made of the image's path: writing again changes nothing,
and a killed build goes on where it stopped. Milvus groups the variants of an image and names candidates; their
distances are computed here by the exact formula, on descriptors that Milvus hands back. One more entity says which
model described the images.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from oamn_plugin.occlusion import NONE, OCCLUSION_TYPES
from oamn_plugin.retrieval.unification import QueryDescriptors
from oamn_plugin.search.encoder import ImageEncoder, in_batches
from oamn_plugin.search.files import GalleryIndexError, NoIndexError
from oamn_plugin.search.gallery import GalleryImage
from oamn_plugin.search.index_folder import check_identity, header_of, identity_in
from oamn_plugin.search.index_plan import BLOCK, Changes, Known, check_files, describe, from_row, stamp_of, to_row
from oamn_plugin.search.milvus_rows import LOCAL, connect, entity, entity_id, equal, key_of, parse, shows
from oamn_plugin.search.nearest import Match, compared_groups, matches_of, own_pairs, ranked
from oamn_plugin.search.searching import Searching
from oamn_plugin.search.workers import rank_and_size, wait

CANDIDATES = 100
"""Images, at least, that the exact formula is applied to for a query."""
_HEADER, _UNREADABLE = "header", "unreadable"
_TRIES = 5
_NUMBERS = 4_000_000
"""Numbers of the descriptors in one answer of the server: 16 MB."""
_FIELDS = ["image", "type", "record", "vector"]


class MilvusIndex(Searching):
    """A searchable gallery in a collection of Milvus.

    Args:
        location: ``milvus:///path/gallery.db`` for a local file (milvus-lite), or ``http://host:19530/collection``.
        encoder: describes images. None: searches descriptors only, nothing can be added.
        progress: show a bar.

    Attributes:
        changes: what the last :meth:`add` did.

    Raises:
        GalleryIndexError: pymilvus is missing, the server cannot be reached, the collection is none of this package or
            was built with another model.
    """

    approximate = None
    """Milvus tunes its own search."""

    def __init__(self, location: str, encoder: ImageEncoder | None = None, *, progress: bool = False) -> None:
        self.folder, self.encoder, self.progress, self.changes = location, encoder, progress, Changes()
        self._local = location.startswith(LOCAL)
        uri, self._name = parse(location)
        self._client = connect(uri, location)
        if self._client.has_collection(self._name):  # milvus-lite answers for what has been loaded since it started
            self._call(self._client.load_collection)
        header = self._header()
        if header is None and encoder is None:
            raise NoIndexError(f"there is no gallery index at {location}: build one with the command index")
        found = header or header_of(encoder)  # type: ignore[arg-type]
        self.identity, self.dim = identity_in(found, location)
        self.model = found.get("model")
        self._check(found)

    def __len__(self) -> int:
        return self._count(self._each)

    @property
    def images(self) -> list[GalleryImage]:
        """Its images, by path; all of them are fetched."""
        rows = self._rows(self._each, ["record"])
        return sorted((from_row(json.loads(row["record"]))[1].image for row in rows), key=lambda image: image.path)

    @property
    def types(self) -> tuple[str, ...]:
        """The occlusion types that are built."""
        return tuple((self._header() or {}).get("types", ()))

    @property
    def unreadable(self) -> dict[str, str]:
        """Path to reason of the images that could not be read; adding them again tries again."""
        return dict(json.loads(row["record"]) for row in self._rows(equal("type", _UNREADABLE), ["record"]))

    @property
    def unfinished(self) -> bool:
        """Whether a build was interrupted; adding the same images again goes on with it."""
        return bool((self._header() or {}).get("unfinished"))

    def add(self, images: Iterable[GalleryImage], types: Sequence[str] | None = None) -> int:
        """Adds the images that the index does not have yet, block by block.

        Replaced files and other labels are treated as :meth:`oamn_plugin.search.GalleryIndex.add` does. Under torchrun
        every process calls this with the same images and sees to its share.

        Returns:
            How many images were added, by this process where there are several.

        Raises:
            GalleryIndexError: no encoder, an unknown type, or no image can be read.
        """
        encoder = self._with_encoder()
        names = tuple(types or self.types or encoder.types)
        self.check_types(names)
        further = set(names) - set(self.types) if self.types else set()
        names = tuple(name for name in OCCLUSION_TYPES if name in (*names, *self.types))
        images = list(images)
        if further:
            check_files(self.folder, further, [image.path for image in images])
        rank, size = rank_and_size()
        if size > 1 and self._local:
            raise GalleryIndexError(f"{self.folder} is a file for one process: use a server or a folder")
        if rank == 0:
            self._begin(names)
        wait()
        given = {os.path.abspath(image.path): image for image in images}
        named = [image._replace(path=path) for path, image in given.items()]
        self.changes = Changes()
        with tqdm(total=len(named), desc="gallery", unit="image", disable=not self.progress) as bar:
            for number, block in enumerate(in_batches(named, BLOCK)):
                if number % size == rank:
                    done = self._add_block(block, names, encoder)
                    self.changes = Changes(*(a + b for a, b in zip(self.changes, done, strict=True)))
                bar.update(len(block))
        wait()
        if rank == 0:
            self._write_header({**(self._header() or {}), "unfinished": False})
            self._call(self._client.flush)  # milvus-lite reads what it has not flushed row by row
        if given and not len(self):
            path, reason = next(iter(self.unreadable.items()), ("", "they were all removed"))
            raise GalleryIndexError(f"none of the {len(given)} images could be read, such as {path}: {reason}")
        return self.changes.added

    def remove(self, paths: Iterable[str | os.PathLike[str]]) -> int:
        """Takes images out and returns how many there were.

        Raises:
            GalleryIndexError: one is not in the index; nothing is removed then.
        """
        keys = {key_of(os.path.abspath(path)): os.path.abspath(path) for path in paths}
        found = {row["image"]: row["type"] for row in self._of_images(list(keys), self._kinds(), ["image", "type"])}
        unknown = [path for key, path in keys.items() if key not in found]
        if unknown:
            raise GalleryIndexError(
                f"{len(unknown)} of {len(keys)} images are not in {self.folder}, such as {unknown[0]}: "
                "nothing was removed"
            )
        self._delete(list(keys))
        return sum(kind != _UNREADABLE for kind in found.values())

    def search(
        self,
        queries: QueryDescriptors,
        k: int = 20,
        *,
        plain: bool = False,
        exact: bool = False,
        leave_out: Sequence[GalleryImage] | None = None,
    ) -> list[list[Match]]:
        """The nearest images of every query, nearest first; see :meth:`oamn_plugin.search.GalleryIndex.search`.

        Raises:
            GalleryIndexError: an empty index, a type that is missing, or ``exact``.
        """
        if exact:
            raise GalleryIndexError(f"{self.folder} is searched by Milvus: exact searches need an index in a folder")
        own, matching = own_pairs(leave_out, len(queries.types)), self.matching(plain)
        groups = list(compared_groups(self.unification, queries, plain))
        self._check_built(name for names, _ in groups for name in names)
        found: list[list[Match]] = [[] for _ in own]
        for names, rows in groups:
            for row in rows:
                query = queries.descriptors[row].numpy()
                known, variants = self._near(query, names, max(CANDIDATES, 2 * k), own[row])
                numbers, distances = ranked(query, np.arange(len(known)), variants, matching, k)
                images = [known[number].image for number in numbers.tolist()]
                found[row] = matches_of(query, images, distances, variants[:, numbers], names, matching)
        return found

    def how_many(self, pairs: Sequence[tuple[str, str] | None]) -> list[int | None]:
        """How many images there are of each person by a camera; None for None."""
        each = self._each
        counts = {pair: self._count(f"{each} and {shows(*pair)}") for pair in set(pairs) if pair}
        return [counts[pair] if pair else None for pair in pairs]

    def descriptors(self, name: str) -> np.ndarray:
        """(G, D) descriptors of a type in the order of :attr:`images`; all of them are fetched."""
        self._check_built([name])
        rows = {key["image"]: key["vector"] for key in self._rows(equal("type", name), ["image", "vector"])}
        return np.array([rows[key_of(image.path)] for image in self.images], dtype=np.float32)

    def quantise(self, target_recall: float = 0.95) -> list[Any]:
        """Refused: Milvus has its own search."""
        raise GalleryIndexError(f"{self.folder} is searched by Milvus: leave out --approximate")

    def check_scorable(self, images: Sequence[GalleryImage]) -> None:
        """Refused: scores need the distances to all images."""
        raise GalleryIndexError(f"{self.folder} cannot score queries: scores need an index in a folder")

    def evaluate(self, queries: QueryDescriptors, images: Sequence[GalleryImage], *, plain: bool = False) -> Any:
        """Refused, see :meth:`check_scorable`."""
        self.check_scorable(images)

    def load_note(self, name: str) -> Any:
        """What :meth:`save_note` was given; None: nothing."""
        return ((self._header() or {}).get("notes") or {}).get(name)

    def save_note(self, name: str, content: Any) -> None:
        """Keeps plain JSON values with the collection."""
        header = self._header() or header_of(self._with_encoder())
        self._write_header({**header, "notes": {**(header.get("notes") or {}), name: content}})

    def _near(
        self, query: np.ndarray, names: Sequence[str], many: int, own: tuple[str, str] | None
    ) -> tuple[list[Known], np.ndarray]:
        """Candidates as Milvus finds them, and their (T, N, D) descriptors."""
        allowed = [f"type in {json.dumps(list(names))}"]
        if own is not None:
            allowed.append(f"not ({shows(*own)})")
        hits = self._call(
            self._client.search, data=[query.tolist()], anns_field="vector", limit=many, filter=" and ".join(allowed),
            output_fields=["image"], **({"group_by_field": "image"} if len(names) > 1 else {}),
        )[0]  # fmt: skip
        keys = sorted({hit["entity"]["image"] for hit in hits})
        rows = {(row["image"], row["type"]): row for row in self._of_images(keys, names, _FIELDS)}
        whole = [key for key in keys if all((key, name) in rows for name in names)]  # others are being written
        known = [from_row(json.loads(rows[key, names[0]]["record"]))[1] for key in whole]
        vectors = [[rows[key, name]["vector"] for key in whole] for name in names]
        return known, np.array(vectors, dtype=np.float32).reshape(len(names), len(whole), self.dim)

    def _add_block(self, images: Sequence[GalleryImage], names: Sequence[str], encoder: ImageEncoder) -> Changes:
        keys = {key_of(image.path): image for image in images}
        there: dict[str, dict[str, Any]] = {}
        for row in self._of_images(list(keys), (*names, _UNREADABLE), ["image", "type", "record"]):
            there.setdefault(row["image"], {})[row["type"]] = row["record"]
        records = {key: json.dumps(to_row(0, Known(image, stamp_of(image.path)))) for key, image in keys.items()}
        fresh, replaced, other = [], [], []
        for key in keys:
            old = there.get(key, {})
            if not set(names) <= set(old):
                fresh.append(key)
            elif from_row(json.loads(old[names[0]]))[1].stamp != stamp_of(keys[key].path) != (-1, -1):
                replaced.append(key)
            elif any(json.loads(old[name])[:5] != json.loads(records[key])[:5] for name in names):
                other.append(key)
        partly = [key for key in fresh if set(there.get(key, {})) - {_UNREADABLE}]
        lacking = {name for key in partly for name in names if name not in there[key]}
        check_files(self.folder, lacking, [keys[key].path for key in partly])
        todo = [*fresh, *replaced]
        numbered = [(number, Known(keys[key], (0, 0))) for number, key in enumerate(todo)]
        blocks = describe(numbered, names, encoder) if todo else {}
        rows, bad = [], {}
        for name, block in blocks.items():
            bad.update(block.unreadable)
            for number, vector in zip(block.rows.numbers.tolist(), block.rows.descriptors, strict=True):
                key = todo[number]
                rows.append(entity(key, name, records[key], keys[key], vector))
        if other:
            for row in self._of_images(other, names, _FIELDS):
                key = row["image"]
                rows.append(entity(key, row["type"], records[key], keys[key], row["vector"]))
        if replaced or (bad and there):
            self._delete([*replaced, *(todo[number] for number in bad)])
        self._upsert(rows)
        nothing = np.zeros(self.dim, dtype=np.float32)
        self._upsert([
            entity(todo[number], _UNREADABLE, json.dumps([keys[todo[number]].path, reason]), None, nothing)
            for number, reason in bad.items()
        ])  # fmt: skip
        readable = {key for number, key in enumerate(todo) if number not in bad}
        once_bad = [entity_id(key, _UNREADABLE) for key in sorted(readable) if _UNREADABLE in there.get(key, {})]
        if once_bad:
            self._call(self._client.delete, ids=once_bad)
        return Changes(len(readable & set(fresh).difference(partly)), len(readable & set(replaced)), len(other))

    def _begin(self, names: Sequence[str]) -> None:
        if not self._client.has_collection(self._name):
            self._create()
        header = self._header() or header_of(self._with_encoder())
        self._check(header)
        self._write_header({**header, "types": list(names), "unfinished": True})

    def _check(self, header: Mapping[str, Any]) -> None:
        if self.encoder is not None:
            check_identity(identity_in(header, self.folder)[0], self.encoder, self.folder)

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
        for name, length in (("image", 32), ("type", 16), ("pid", 1024), ("camid", 1024), ("record", 60000)):
            schema.add_field(name, DataType.VARCHAR, max_length=length)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="FLAT" if self._local else "AUTOINDEX", metric_type="L2")
        self._call(self._client.create_collection, schema=schema, index_params=index, consistency_level="Strong")

    def _header(self) -> dict[str, Any] | None:
        if not self._client.has_collection(self._name):
            return None
        rows = self._call(self._client.get, ids=[_HEADER], output_fields=["record"])
        if not rows:
            fields = {field["name"] for field in self._client.describe_collection(self._name)["fields"]}
            if not {"image", "type", "record", "vector"} <= fields:
                raise GalleryIndexError(f"the collection at {self.folder} is no gallery index: choose another name")
            return None
        header: dict[str, Any] = json.loads(rows[0]["record"])
        return header

    def _write_header(self, header: Mapping[str, Any]) -> None:
        row = entity("", _HEADER, json.dumps(header), None, np.zeros(self.dim, dtype=np.float32))
        self._upsert([{**row, "id": _HEADER}])

    @property
    def _each(self) -> str:
        """The condition that holds for one entity of every image."""
        return equal("type", next(iter(self.types), NONE))

    def _count(self, condition: str) -> int:
        """How many entities a condition holds for; none is fetched."""
        if not self._client.has_collection(self._name):
            return 0
        return int(self._call(self._client.query, filter=condition, output_fields=["count(*)"])[0]["count(*)"])

    def _rows(self, condition: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        """All entities that a condition holds for."""
        if not self._client.has_collection(self._name):
            return
        batch = max(100, _NUMBERS // self.dim) if "vector" in fields else 10_000  # each reads the whole collection
        rows = self._call(self._client.query_iterator, batch_size=batch, filter=condition, output_fields=fields)
        try:
            while found := rows.next():
                yield from found
        finally:
            rows.close()

    def _kinds(self) -> tuple[str, ...]:
        """Every kind of entity that an image may have."""
        return (*self.types, _UNREADABLE)

    def _of_images(self, keys: Sequence[str], kinds: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        """Entities of images, asked for by their keys: a condition on another field reads the whole collection."""
        if keys and self._client.has_collection(self._name):
            for part in in_batches([entity_id(key, kind) for key in keys for kind in kinds], 1000):
                yield from self._call(self._client.get, ids=list(part), output_fields=fields)

    def _upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        for part in in_batches(rows, 1000):
            self._call(self._client.upsert, data=list(part))

    def _delete(self, keys: Sequence[str]) -> None:
        for part in in_batches([entity_id(key, kind) for key in keys for kind in self._kinds()], 1000):
            self._call(self._client.delete, ids=list(part))

    def _check_built(self, names: Iterable[str]) -> None:
        built = self.types
        if not built:
            raise GalleryIndexError(f"{self.folder} holds no image yet: run index first")
        if missing := [name for name in names if name not in built]:
            self.check_types(missing)
            raise GalleryIndexError(f"{self.folder} has no descriptors of {', '.join(missing)}: run index --types")

    def _with_encoder(self) -> ImageEncoder:
        if self.encoder is None:
            raise GalleryIndexError(f"{self.folder} needs its model for images to be added")
        return self.encoder

    def _call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """A request, repeated after a while where the server does not answer."""
        from pymilvus.exceptions import MilvusException

        for number in range(_TRIES):
            try:
                return function(self._name, **arguments)
            except MilvusException as error:
                if number == _TRIES - 1:
                    raise GalleryIndexError(f"Milvus at {self.folder} refuses: {error.message}") from error
                time.sleep(0.2 * 2**number)
        raise AssertionError
